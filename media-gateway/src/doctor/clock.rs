//! This machine's clock against the `Date` header of RingCentral's answers.

use super::Outcome;

/// A clock that is further off than this is wrong, in seconds.
const TOLERANCE: u64 = 30;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Compares times in seconds since 1970: the server's, if it tells, and ours.
pub(super) fn clock(server: Option<i64>, ours: i64) -> Outcome {
    let Some(server) = server else {
        return Outcome::warning(
            "the server does not tell its time, so the clock can't be compared",
            "check that this machine's clock is set by NTP: `timedatectl` says so",
        );
    };
    let off = ours.abs_diff(server);
    if off <= TOLERANCE {
        return Outcome::ok(format!("within {off} s of RingCentral's"));
    }
    let direction = if ours < server { "behind" } else { "ahead of" };
    Outcome::failed(
        format!("the clock is {off} s {direction} RingCentral's: logins with a JWT fail then"),
        "set the clock by NTP: `sudo timedatectl set-ntp true`; on a virtual machine, let the host set it",
    )
}

/// The seconds since 1970 of an HTTP date such as `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 section 5.6.7).
pub(super) fn http_date(text: &str) -> Option<i64> {
    let (_, date) = text.trim().split_once(", ")?;
    let mut parts = date.split(' ');
    let day = number(parts.next()?, 1..=31)?;
    let month = parts.next()?;
    let month = MONTHS.iter().position(|name| *name == month)? as i64 + 1;
    let year = number(parts.next()?, 1970..=9999)?;
    let mut time = parts.next()?.split(':');
    let hour = number(time.next()?, 0..=23)?;
    let minute = number(time.next()?, 0..=59)?;
    let second = number(time.next()?, 0..=60)?;
    if parts.next() != Some("GMT") || parts.next().is_some() || time.next().is_some() {
        return None;
    }
    Some(((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second)
}

fn number(text: &str, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
    text.parse().ok().filter(|number| range.contains(number))
}

/// Days from 1970-01-01 in the Gregorian calendar. Years begin in March, so that the leap day is the last of its year.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year / 4 - year / 100 + year / 400;
    year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read() {
        for (text, seconds) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("Thu, 29 Feb 2024 23:59:59 GMT", Some(1_709_251_199)),
            ("Fri, 01 Mar 2024 00:00:00 GMT", Some(1_709_251_200)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", None),
            ("Sun, 06 Nov 1994 08:49:37 CET", None),
            ("Sun, 06 Nov 1994 24:49:37 GMT", None),
            ("Sun, 06 Nov 99999999999999999999 08:49:37 GMT", None),
            ("Sun, ", None),
            ("", None),
        ] {
            assert_eq!(http_date(text), seconds, "{text}");
        }
    }

    #[test]
    fn half_a_minute_is_tolerated() {
        assert!(matches!(clock(Some(1000), 1030), Outcome::Ok { .. }));
        assert!(matches!(clock(None, 1030), Outcome::Warning { .. }));
        for (ours, direction) in [(1031, "31 s ahead of"), (969, "31 s behind")] {
            let Outcome::Failed { what, mend } = clock(Some(1000), ours) else {
                panic!("{ours}");
            };
            assert!(what.contains(direction) && mend.contains("timedatectl"), "{what}; {mend}");
        }
    }
}
