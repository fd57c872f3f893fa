//! Sizes, speeds and times for people.

use std::time::Duration;

/// `7.93 MiB`.
pub fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}

/// `7.93 MiB/s`; `None` where `duration` is too short to speak of a speed.
pub fn speed(count: u64, duration: Duration) -> Option<String> {
    let nanoseconds = duration.as_nanos();
    let per_second = (u128::from(count) * 1_000_000_000).checked_div(nanoseconds)?;
    let per_second = u64::try_from(per_second).unwrap_or(u64::MAX);
    (per_second > 0).then(|| format!("{}/s", bytes(per_second)))
}

/// `850 ms`, `12.3 s`, `2 min 5 s`, `1 h 2 min`.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{seconds}.{} s", duration.subsec_millis() / 100),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// How long ago, roughly: `45 s`, `12 min`, `5 h`, `3 d`.
pub fn age(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_as_precise_as_they_need_to_be() {
        for (milliseconds, text) in [
            (0, "0 ms"),
            (850, "850 ms"),
            (1000, "1.0 s"),
            (12_349, "12.3 s"),
            (125_000, "2 min 5 s"),
            (3_725_000, "1 h 2 min"),
        ] {
            assert_eq!(duration(Duration::from_millis(milliseconds)), text);
        }
    }

    #[test]
    fn sizes_and_speeds_are_binary() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(8 << 20), "8.00 MiB");
        assert_eq!(speed(8 << 20, Duration::from_secs(2)).as_deref(), Some("4.00 MiB/s"));
        assert_eq!(speed(0, Duration::from_secs(2)), None);
        assert_eq!(speed(1, Duration::ZERO), None);
    }

    #[test]
    fn ages_are_rough() {
        for (seconds, text) in
            [(0, "0 s"), (59, "59 s"), (3599, "59 min"), (3600, "1 h"), (86_400, "1 d")]
        {
            assert_eq!(age(Duration::from_secs(seconds)), text);
        }
    }
}
