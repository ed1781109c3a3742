//! What a receiver counts.

/// Counts since the receiver was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RtpStats {
    /// Datagrams that were handed in.
    pub datagrams: u64,
    /// Datagrams that were not RTP, broken or too long.
    pub rejected: u64,
    /// Packets received before.
    pub duplicates: u64,
    /// Packets that came after their place was given up.
    pub late: u64,
    /// Packets that had not come when their place was given up.
    pub lost: u64,
    /// Packets of another SSRC, or too far from the others of theirs: heard only if they prove to be
    /// the next source's.
    pub strays: u64,
    /// Packets of another payload type, or without audio.
    pub not_audio: u64,
    /// Of these, comfort noise (RFC 3389).
    pub comfort_noise: u64,
    /// Packets that were decoded.
    pub decoded: u64,
    /// Packets that the codec refused; they count as lost audio.
    pub undecodable: u64,
    /// Samples recovered from in-band forward error correction.
    pub recovered_samples: u64,
    /// Samples invented to conceal a loss.
    pub concealed_samples: u64,
    /// Samples told as lost.
    pub lost_samples: u64,
    /// Samples of silence by the clock.
    pub silence_samples: u64,
    /// Samples that came when the clock had passed them. When that was a whole packet, the next
    /// one is told as lost, so that the loss is known.
    pub overlapped_samples: u64,
    /// Changes to another SSRC, or to a restarted sequence of the same.
    pub source_changes: u64,
    /// Timestamps that jumped, so that the party was placed by its time of arrival.
    pub timestamp_jumps: u64,
}
