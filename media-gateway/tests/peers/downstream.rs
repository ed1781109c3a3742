//! What reaches the transcriber of a call with one party: how much there is, and of which tone.

use super::process::within;
use super::support::Downstream;

/// The audio of the call's one party.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// Per second.
    pub sample_rate: u32,
    /// From the first sample on; what was lost is silence.
    pub pcm: Vec<i16>,
}

impl Heard {
    /// How long it is.
    pub fn seconds(&self) -> f64 {
        self.pcm.len() as f64 / f64::from(self.sample_rate.max(1))
    }

    /// The share of the energy at a frequency (Goertzel), roughly 0 to 1, where anything is to be heard at all.
    pub fn share(&self, frequency: f64) -> f64 {
        let rate = f64::from(self.sample_rate);
        let is_loud = |window: &&[i16]| window.iter().any(|sample| sample.unsigned_abs() > 500);
        let loud: Vec<i16> = self.pcm.chunks(160).filter(is_loud).flatten().copied().collect();
        // Windows of a tenth of a second: pauses between bursts shift the phase.
        let windows = loud.chunks(self.sample_rate as usize / 10);
        let shares: Vec<f64> =
            windows.map(|window| window_share(window, frequency, rate)).collect();
        shares.iter().sum::<f64>() / (shares.len() as f64).max(1.0)
    }

    /// How long anything is to be heard, in seconds.
    pub fn loud_seconds(&self) -> f64 {
        let is_loud = |window: &&[i16]| window.iter().any(|sample| sample.unsigned_abs() > 500);
        let loud = self.pcm.chunks(160).filter(is_loud).count() * 160;
        loud as f64 / f64::from(self.sample_rate.max(1))
    }
}

/// Waits until this many seconds have arrived.
pub async fn hears(downstream: &Downstream, seconds: f64) {
    let mut messages = downstream.messages.subscribe();
    let wait = messages.wait_for(|_| heard(downstream).seconds() >= seconds);
    within(&format!("{seconds} s of audio have arrived"), wait).await.unwrap();
}

/// Waits until the call is over. Gives what was heard.
pub async fn over(downstream: &Downstream) -> Heard {
    within("the call is over", downstream.ended.notified()).await;
    heard(downstream)
}

fn heard(downstream: &Downstream) -> Heard {
    let parties = downstream.parties.lock().unwrap();
    let party = parties.values().next().cloned().unwrap_or_default();
    Heard { sample_rate: party.start.sample_rate, pcm: party.pcm }
}

fn window_share(window: &[i16], frequency: f64, rate: f64) -> f64 {
    let (mut cosine, mut sine, mut energy) = (0.0, 0.0, 0.0);
    for (at, sample) in window.iter().enumerate() {
        let angle = at as f64 * frequency * std::f64::consts::TAU / rate;
        let sample = f64::from(*sample);
        cosine += sample * angle.cos();
        sine += sample * angle.sin();
        energy += sample * sample;
    }
    2.0 * (cosine * cosine + sine * sine) / (energy * window.len() as f64).max(1.0)
}
