//! Every metric of the gateway, with its meaning. Nothing is measured under a name that is not here.
//!
//! Recording costs next to nothing while no recorder is installed. [`install`] makes the process keep what is recorded
//! and gives the handle that renders it for Prometheus.

use std::sync::OnceLock;

use ::metrics::{Counter, Gauge, SharedString};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use pipeline::rtp::RtpStats;
use sidetone_proto::v1::GapReason;

/// 1 while the supervisor's device is registered, else 0.
pub const REGISTERED: Metric =
    Metric::gauge("sidetone_gateway_registered", "1 while the supervisor's device is registered");
/// Calls that are listened to.
pub const CALLS: Metric = Metric::gauge("sidetone_gateway_calls", "Calls that are listened to");
/// Answered legs.
pub const LEGS: Metric = Metric::gauge("sidetone_gateway_legs", "Answered SIP legs");
/// INVITEs that were answered.
pub const INVITES_ANSWERED: Metric =
    Metric::counter("sidetone_gateway_invites_answered_total", "INVITEs that were answered");
/// Requests, offers and connections that were refused; label `reason`.
pub const REFUSALS: Metric = Metric::counter(
    "sidetone_gateway_refusals_total",
    "SIP requests, offers and connections that were refused, by reason",
);
/// Ends of legs; label `reason`.
pub const LEGS_ENDED: Metric =
    Metric::counter("sidetone_gateway_legs_ended_total", "Legs that ended, by reason");
/// Supervise requests; label `outcome`.
pub const SUPERVISE_REQUESTS: Metric = Metric::counter(
    "sidetone_gateway_supervise_requests_total",
    "Supervise requests by outcome: accepted, refused (by RingCentral), or why none was made",
);
/// Datagrams that arrived on RTP ports.
pub const RTP_DATAGRAMS: Metric = Metric::counter(
    "sidetone_gateway_rtp_datagrams_total",
    "Datagrams from the streams' sources that arrived on RTP ports",
);
/// RTP packets that were decoded.
pub const RTP_DECODED: Metric =
    Metric::counter("sidetone_gateway_rtp_packets_decoded_total", "RTP packets that were decoded");
/// RTP packets that never came.
pub const RTP_LOST: Metric = Metric::counter(
    "sidetone_gateway_rtp_packets_lost_total",
    "RTP packets that had not come when their place was given up",
);
/// RTP packets that came too late.
pub const RTP_LATE: Metric = Metric::counter(
    "sidetone_gateway_rtp_packets_late_total",
    "RTP packets that came after their place was given up",
);
/// RTP packets that came twice.
pub const RTP_DUPLICATE: Metric = Metric::counter(
    "sidetone_gateway_rtp_packets_duplicate_total",
    "RTP packets that had been received before",
);
/// RTP packets that the codec could not decode.
pub const DECODE_ERRORS: Metric = Metric::counter(
    "sidetone_gateway_decode_errors_total",
    "RTP packets that the codec refused; they count as lost audio",
);
/// Datagrams on RTP ports that were not taken; label `reason`.
pub const RTP_REFUSED: Metric = Metric::counter(
    "sidetone_gateway_rtp_refused_total",
    "Datagrams on RTP ports that were not taken, by reason",
);
/// Lost audio in milliseconds; label `reason`.
pub const GAP_MS: Metric = Metric::counter(
    "sidetone_gateway_gap_milliseconds_total",
    "Audio that is missing from transcripts, in milliseconds, by reason",
);
/// Parties whose audio is streamed; label `state`.
pub const UPLINKS: Metric = Metric::gauge(
    "sidetone_gateway_uplinks",
    "Parties by the state of their way to a transcriber: connected, lost",
);
/// Streams that were resumed after an interruption.
pub const RESUMES: Metric = Metric::counter(
    "sidetone_gateway_uplink_resumes_total",
    "Audio streams that were resumed after an interruption",
);
/// Parties that moved to another transcriber.
pub const FAILOVERS: Metric = Metric::counter(
    "sidetone_gateway_uplink_failovers_total",
    "Parties that moved to another transcriber because theirs failed",
);
/// Seconds of audio that are not acknowledged, of all parties.
pub const RING_SECONDS: Metric = Metric::gauge(
    "sidetone_gateway_ring_seconds",
    "Audio that is kept until it is acknowledged, in seconds, of all parties together",
);
/// How far acknowledgements are behind.
pub const ACKNOWLEDGEMENT_LAG: Metric = Metric::histogram(
    "sidetone_gateway_acknowledgement_lag_seconds",
    "How far an acknowledgement was behind the party's newest audio, in seconds",
);

const ALL: [Metric; 20] = [
    REGISTERED,
    CALLS,
    LEGS,
    INVITES_ANSWERED,
    REFUSALS,
    LEGS_ENDED,
    SUPERVISE_REQUESTS,
    RTP_DATAGRAMS,
    RTP_DECODED,
    RTP_LOST,
    RTP_LATE,
    RTP_DUPLICATE,
    DECODE_ERRORS,
    RTP_REFUSED,
    GAP_MS,
    UPLINKS,
    RESUMES,
    FAILOVERS,
    RING_SECONDS,
    ACKNOWLEDGEMENT_LAG,
];

/// From a short sentence to the length of the ring.
const LAG_BUCKETS: [f64; 8] = [0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0];

/// A name and its meaning.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    name: &'static str,
    meaning: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// One owner's part of a gauge that many add to. Dropping it takes the part away.
pub(crate) struct Share {
    gauge: Gauge,
    part: f64,
}

type ReadStat = fn(&RtpStats) -> u64;

/// What one media stream adds to the RTP counters.
pub(crate) struct StreamCounters {
    counters: [(Counter, ReadStat); 6],
    counted: RtpStats,
}

/// Makes this process keep what is recorded, from now on. `None`: another recorder is installed already.
pub fn install() -> Option<PrometheusHandle> {
    static HANDLE: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            let lag = Matcher::Full(ACKNOWLEDGEMENT_LAG.name.to_owned());
            let handle = PrometheusBuilder::new()
                .set_buckets_for_metric(lag, &LAG_BUCKETS)
                .and_then(PrometheusBuilder::install_recorder)
                .ok()?;
            ALL.iter().for_each(Metric::describe);
            Some(handle)
        })
        .clone()
}

/// Counts audio that no transcript will have.
pub(crate) fn gap(reason: GapReason, samples: u64, rate: u32) {
    if samples > 0 {
        let reason = reason.as_str_name().trim_start_matches("GAP_REASON_").to_ascii_lowercase();
        GAP_MS.add_of("reason", reason, samples * 1000 / u64::from(rate.max(1)));
    }
}

/// A variant's name as a label: `TooManyLegs` becomes `too_many_legs`. What a variant holds is left out.
pub(crate) fn label(variant: &impl std::fmt::Debug) -> String {
    let mut label = String::new();
    let debug = format!("{variant:?}");
    for letter in debug.chars().take_while(|letter| letter.is_ascii_alphanumeric()) {
        if letter.is_ascii_uppercase() && !label.is_empty() {
            label.push('_');
        }
        label.push(letter.to_ascii_lowercase());
    }
    label
}

impl Metric {
    const fn counter(name: &'static str, meaning: &'static str) -> Self {
        Self { name, meaning, kind: Kind::Counter }
    }

    const fn gauge(name: &'static str, meaning: &'static str) -> Self {
        Self { name, meaning, kind: Kind::Gauge }
    }

    const fn histogram(name: &'static str, meaning: &'static str) -> Self {
        Self { name, meaning, kind: Kind::Histogram }
    }

    /// As Prometheus knows it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn increment(self) {
        debug_assert_eq!(self.kind, Kind::Counter);
        ::metrics::counter!(self.name).increment(1);
    }

    pub(crate) fn increment_of(self, label: &'static str, value: impl Into<SharedString>) {
        self.add_of(label, value, 1);
    }

    fn add_of(self, label: &'static str, value: impl Into<SharedString>, amount: u64) {
        debug_assert_eq!(self.kind, Kind::Counter);
        ::metrics::counter!(self.name, label => value.into()).increment(amount);
    }

    pub(crate) fn set(self, value: f64) {
        debug_assert_eq!(self.kind, Kind::Gauge);
        ::metrics::gauge!(self.name).set(value);
    }

    pub(crate) fn record(self, value: f64) {
        debug_assert_eq!(self.kind, Kind::Histogram);
        ::metrics::histogram!(self.name).record(value);
    }

    fn describe(&self) {
        match self.kind {
            Kind::Counter => ::metrics::describe_counter!(self.name, self.meaning),
            Kind::Gauge => ::metrics::describe_gauge!(self.name, self.meaning),
            Kind::Histogram => ::metrics::describe_histogram!(self.name, self.meaning),
        }
    }
}

impl Share {
    /// Nothing yet.
    pub(crate) fn of(metric: Metric) -> Self {
        debug_assert_eq!(metric.kind, Kind::Gauge);
        Self { gauge: ::metrics::gauge!(metric.name), part: 0.0 }
    }

    /// One of those in a state.
    pub(crate) fn of_state(metric: Metric, state: &'static str) -> Self {
        debug_assert_eq!(metric.kind, Kind::Gauge);
        let mut share = Self { gauge: ::metrics::gauge!(metric.name, "state" => state), part: 0.0 };
        share.set(1.0);
        share
    }

    pub(crate) fn set(&mut self, part: f64) {
        self.gauge.increment(part - self.part);
        self.part = part;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0.0);
    }
}

impl std::fmt::Debug for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Share").field(&self.part).finish()
    }
}

impl StreamCounters {
    pub(crate) fn new() -> Self {
        let counter = |metric: Metric| ::metrics::counter!(metric.name);
        Self {
            counters: [
                (counter(RTP_DATAGRAMS), |stats| stats.datagrams),
                (counter(RTP_DECODED), |stats| stats.decoded),
                (counter(RTP_LOST), |stats| stats.lost),
                (counter(RTP_LATE), |stats| stats.late),
                (counter(RTP_DUPLICATE), |stats| stats.duplicates),
                (counter(DECODE_ERRORS), |stats| stats.undecodable),
            ],
            counted: RtpStats::default(),
        }
    }

    /// Counts what has happened since the last time.
    pub(crate) fn count(&mut self, stats: &RtpStats) {
        for (counter, read) in &self.counters {
            let new = read(stats) - read(&self.counted);
            if new > 0 {
                counter.increment(new);
            }
        }
        self.counted = *stats;
    }

    /// A datagram was not taken.
    pub(crate) fn refused(&self, reason: &'static str) {
        RTP_REFUSED.increment_of("reason", reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_end_as_prometheus_wants_them() {
        let names: std::collections::BTreeSet<&str> = ALL.iter().map(Metric::name).collect();
        assert_eq!(names.len(), ALL.len());
        for metric in ALL {
            let is_counter = metric.kind == Kind::Counter;
            assert_eq!(metric.name.ends_with("_total"), is_counter, "{}", metric.name);
            assert!(metric.name.starts_with("sidetone_gateway_"), "{}", metric.name);
        }
    }

    #[test]
    fn variants_become_labels() {
        assert_eq!(label(&crate::sip::Refusal::TooManyLegs), "too_many_legs");
        assert_eq!(label(&Some("a secret")), "some");
    }
}
