//! The two ways in which RingCentral writes an instant, both in UTC.

use std::time::{SystemTime, UNIX_EPOCH};

const SECONDS_PER_DAY: u64 = 86_400;

/// RFC 3339 with milliseconds and `Z`, as in telephony sessions: `2026-01-01T00:00:00.000Z`.
pub(crate) fn rfc3339(instant: SystemTime) -> String {
    format!("{}Z", date_time(instant))
}

/// The form of presence, whose offset has no colon: `2019-03-26T22:16:29.629+0000`.
pub(crate) fn presence(instant: SystemTime) -> String {
    format!("{}+0000", date_time(instant))
}

fn date_time(instant: SystemTime) -> String {
    let since_epoch = instant.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (year, month, day) = civil_date(since_epoch.as_secs() / SECONDS_PER_DAY);
    let second = since_epoch.as_secs() % SECONDS_PER_DAY;
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}",
        second / 3600,
        second / 60 % 60,
        second % 60,
        since_epoch.subsec_millis()
    )
}

/// The Gregorian date of a day counted from 1970-01-01.
///
/// Years are counted from March, so that the leap day is the last day of its year.
fn civil_date(days_since_epoch: u64) -> (u64, u64, u64) {
    const DAYS_PER_ERA: u64 = 146_097; // 400 years
    const EPOCH_FROM_YEAR_0: u64 = 719_468; // 0000-03-01 to 1970-01-01

    let days = days_since_epoch + EPOCH_FROM_YEAR_0;
    let era = days / DAYS_PER_ERA;
    let day_of_era = days % DAYS_PER_ERA;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn known_instants_are_written_in_both_forms() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.629"),
            (951_782_399, "2000-02-28T23:59:59.629"),
            (951_782_400, "2000-02-29T00:00:00.629"),
            (1_553_638_589, "2019-03-26T22:16:29.629"),
            (4_107_542_400, "2100-03-01T00:00:00.629"),
        ] {
            let instant = UNIX_EPOCH + Duration::from_millis(seconds * 1000 + 629);
            assert_eq!(rfc3339(instant), format!("{expected}Z"));
            assert_eq!(presence(instant), format!("{expected}+0000"));
        }
    }
}
