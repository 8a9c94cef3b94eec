//! Time zones for the envelope's timestamp: reads the system's zone files (TZif, RFC 9636) from bytes; finding the file is the caller's business.

use std::fmt::Write as _;

use time::{OffsetDateTime, UtcOffset};

use crate::clock::UnixMs;

/// A time zone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Zone {
    /// UTC, in its short form.
    #[default]
    Utc,
    /// A zone with rules.
    Rules(Rules),
}

/// The offsets of a zone over time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// From when (Unix seconds) which of `offsets` holds, ascending.
    transitions: Vec<(i64, usize)>,
    offsets: Vec<Offset>,
    /// What holds after the last transition, as POSIX writes it.
    tail: Option<Tail>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Offset {
    seconds: i32,
    name: String,
}

/// Standard time, and summer time with its two days.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Tail {
    standard: Offset,
    summer: Option<(Offset, Day, Day)>,
}

/// A day of the year and a second in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Day {
    kind: DayKind,
    second: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DayKind {
    /// Month, week (5 = last), weekday (0 = Sunday).
    Weekday(u8, u8, u8),
    /// 1 to 365, the leap day is not counted.
    Julian(u16),
    /// 0 to 365.
    Ordinal(u16),
}

impl Zone {
    /// Reads a zone file; `None` when the bytes are none.
    pub fn parse(tzif: &[u8]) -> Option<Self> {
        Rules::parse(tzif).map(Self::Rules)
    }

    /// How far its clocks are ahead of UTC at a time, in milliseconds.
    pub fn offset_ms(&self, at: UnixMs) -> i64 {
        match self {
            Self::Utc => 0,
            Self::Rules(rules) => i64::from(rules.at(at.div_euclid(1000)).seconds) * 1000,
        }
    }

    /// `Thu 2026-01-15T14:30Z` in UTC, else `Thu 2026-01-15 14:30 EST` with the zone's short name. `None` for times outside years 0 to 9999.
    pub fn stamp(&self, at: UnixMs) -> Option<String> {
        let seconds = at.div_euclid(1000);
        let offset = match self {
            Self::Utc => None,
            Self::Rules(rules) => Some(rules.at(seconds)),
        };
        let utc = OffsetDateTime::from_unix_timestamp(seconds).ok().filter(|t| (1..=9998).contains(&t.year()))?;
        let time = match offset {
            None => utc,
            Some(offset) => utc.to_offset(UtcOffset::from_whole_seconds(offset.seconds).ok()?),
        };
        let day = &time.weekday().to_string()[..3];
        let (date, hour, minute) = (time.date(), time.hour(), time.minute());
        Some(match offset {
            None => format!("{day} {date}T{hour:02}:{minute:02}Z"),
            Some(offset) => format!("{day} {date} {hour:02}:{minute:02} {}", offset.short()),
        })
    }
}

impl Offset {
    /// The name that people know, else `GMT+1`: the letters that zone files use for most zones are ambiguous.
    fn short(&self) -> String {
        const KNOWN: &[(&str, i32)] = &[
            ("EST", -5),
            ("EDT", -4),
            ("CST", -6),
            ("CDT", -5),
            ("MST", -7),
            ("MDT", -6),
            ("PST", -8),
            ("PDT", -7),
            ("AST", -4),
            ("ADT", -3),
            ("AKST", -9),
            ("AKDT", -8),
            ("HST", -10),
            ("HDT", -9),
        ];
        if KNOWN.iter().any(|&(name, hours)| name == self.name && hours * 3600 == self.seconds) {
            return self.name.clone();
        }
        if self.seconds == 0 {
            return if self.name == "UTC" || self.name == "UCT" { "UTC".to_owned() } else { "GMT".to_owned() };
        }
        let minutes = self.seconds.unsigned_abs() / 60;
        let mut out = format!("GMT{}{}", if self.seconds < 0 { '-' } else { '+' }, minutes / 60);
        if !minutes.is_multiple_of(60) {
            let _ = write!(out, ":{:02}", minutes % 60);
        }
        out
    }
}

impl Rules {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (first, rest) = Header::parse(bytes)?;
        // Version 1 holds 32-bit times only; later versions repeat everything in 64 bits behind it.
        let (header, body, wide) = if first.version >= b'2' {
            let (header, rest) = Header::parse(rest.get(first.len(4)?..)?)?;
            (header, rest, true)
        } else {
            (first, rest, false)
        };
        let width = if wide { 8 } else { 4 };
        let mut at = 0_usize;
        let mut take = |len: usize| {
            let part = body.get(at..at.checked_add(len)?)?;
            at += len;
            Some(part)
        };
        let times = take(header.times.checked_mul(width)?)?;
        let kinds = take(header.times)?;
        let types = take(header.types.checked_mul(6)?)?;
        let names = take(header.names)?;
        take(header.leaps.checked_mul(width + 4)?)?;
        take(header.std)?;
        take(header.ut)?;
        let offsets: Vec<Offset> = types
            .chunks_exact(6)
            .map(|t| {
                let name = names.get(usize::from(t[5])..)?.split(|&b| b == 0).next()?;
                let seconds = i32::from_be_bytes(t[..4].try_into().ok()?);
                Some(Offset { seconds, name: String::from_utf8_lossy(name).into_owned() })
            })
            .collect::<Option<_>>()?;
        let time = |t: &[u8]| match width {
            8 => t.try_into().map(i64::from_be_bytes).ok(),
            _ => t.try_into().map(|t| i64::from(i32::from_be_bytes(t))).ok(),
        };
        let transitions = times
            .chunks_exact(width)
            .zip(kinds)
            .map(|(t, &kind)| Some((time(t)?, usize::from(kind))).filter(|&(_, kind)| kind < offsets.len()))
            .collect::<Option<_>>()?;
        let footer = body.get(at..).and_then(|f| f.strip_prefix(b"\n")).and_then(|f| f.split(|&b| b == b'\n').next());
        let tail = footer.filter(|_| wide).and_then(|f| std::str::from_utf8(f).ok()).and_then(Tail::parse);
        (!offsets.is_empty()).then_some(Self { transitions, offsets, tail })
    }

    fn at(&self, seconds: i64) -> &Offset {
        let passed = self.transitions.partition_point(|&(from, _)| from <= seconds);
        match (&self.tail, passed) {
            (Some(tail), n) if n == self.transitions.len() => tail.at(seconds),
            (_, 0) => &self.offsets[0],
            (_, n) => &self.offsets[self.transitions[n - 1].1],
        }
    }
}

struct Header {
    version: u8,
    ut: usize,
    std: usize,
    leaps: usize,
    times: usize,
    types: usize,
    names: usize,
}

impl Header {
    fn parse(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let rest = bytes.strip_prefix(b"TZif")?;
        let version = *rest.first()?;
        let counts = rest.get(16..40)?;
        let count = |i: usize| {
            let four = counts[i * 4..i * 4 + 4].try_into().expect("six counts of four bytes");
            usize::try_from(u32::from_be_bytes(four)).ok()
        };
        let header = Self {
            version,
            ut: count(0)?,
            std: count(1)?,
            leaps: count(2)?,
            times: count(3)?,
            types: count(4)?,
            names: count(5)?,
        };
        Some((header, &rest[40..]))
    }

    /// Length of the data with times of `width` bytes.
    fn len(&self, width: usize) -> Option<usize> {
        let parts = [
            (self.times, width + 1),
            (self.types, 6),
            (self.names, 1),
            (self.leaps, width + 4),
            (self.std, 1),
            (self.ut, 1),
        ];
        parts.iter().try_fold(0_usize, |sum, &(n, size)| sum.checked_add(n.checked_mul(size)?))
    }
}

impl Tail {
    /// `CET-1CEST,M3.5.0,M10.5.0/3` and its relatives.
    fn parse(text: &str) -> Option<Self> {
        let mut days = text.split(',');
        let mut rest = days.next()?;
        let standard_name = name(&mut rest)?;
        let standard = Offset { seconds: i32::try_from(-clock(&mut rest)?).ok()?, name: standard_name };
        if rest.is_empty() {
            return Some(Self { standard, summer: None });
        }
        let summer_name = name(&mut rest)?;
        let seconds = if rest.is_empty() { standard.seconds + 3600 } else { i32::try_from(-clock(&mut rest)?).ok()? };
        let summer = Offset { seconds, name: summer_name };
        let (start, end) = (Day::parse(days.next()?)?, Day::parse(days.next()?)?);
        Some(Self { standard, summer: Some((summer, start, end)) })
    }

    fn at(&self, seconds: i64) -> &Offset {
        let Some((summer, start, end)) = &self.summer else { return &self.standard };
        let local = seconds + i64::from(self.standard.seconds);
        let Ok(when) = OffsetDateTime::from_unix_timestamp(local) else { return &self.standard };
        let year = when.year();
        let starts = start.in_year(year) - i64::from(self.standard.seconds);
        let ends = end.in_year(year) - i64::from(summer.seconds);
        let is_summer =
            if starts < ends { (starts..ends).contains(&seconds) } else { !(ends..starts).contains(&seconds) };
        if is_summer { summer } else { &self.standard }
    }
}

/// A zone's short name, in letters or `<...>`.
fn name(rest: &mut &str) -> Option<String> {
    let (name, after) = match rest.strip_prefix('<') {
        Some(quoted) => quoted.split_once('>')?,
        None => rest.split_at(rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len())),
    };
    *rest = after;
    (!name.is_empty()).then(|| name.to_owned())
}

/// `[+-]hh[:mm[:ss]]` in seconds.
fn clock(rest: &mut &str) -> Option<i64> {
    let (sign, digits) = match rest.as_bytes().first()? {
        b'-' => (-1, &rest[1..]),
        b'+' => (1, &rest[1..]),
        _ => (1, *rest),
    };
    let end = digits.find(|c: char| !c.is_ascii_digit() && c != ':').unwrap_or(digits.len());
    let mut seconds = 0;
    for (part, size) in digits[..end].split(':').zip([3600, 60, 1]) {
        seconds += part.parse::<u16>().map(i64::from).ok()? * size;
    }
    *rest = &digits[end..];
    Some(sign * seconds)
}

impl Day {
    fn parse(text: &str) -> Option<Self> {
        let (day, time) = text.split_once('/').unwrap_or((text, "2"));
        let mut time = time;
        let second = clock(&mut time)?;
        let kind = if let Some(spec) = day.strip_prefix('M') {
            let mut parts = spec.split('.').map(|p| p.parse::<u8>().ok());
            let (month, week, weekday) = (parts.next()??, parts.next()??, parts.next()??);
            ((1..=12).contains(&month) && (1..=5).contains(&week) && weekday <= 6)
                .then_some(DayKind::Weekday(month, week, weekday))?
        } else if let Some(julian) = day.strip_prefix('J') {
            DayKind::Julian(julian.parse().ok().filter(|d| (1..=365).contains(d))?)
        } else {
            DayKind::Ordinal(day.parse().ok().filter(|d| *d <= 365)?)
        };
        Some(Self { kind, second })
    }

    /// The moment in a year, in seconds since 1970 by the local clock.
    fn in_year(self, year: i32) -> i64 {
        let leap = time::util::is_leap_year(year);
        let first = time::Date::from_ordinal_date(year, 1).map_or(0, |d| i64::from(d.to_julian_day() - 2_440_588));
        let days = match self.kind {
            DayKind::Ordinal(n) => i64::from(n),
            DayKind::Julian(n) => i64::from(n) - 1 + i64::from(leap && n >= 60),
            DayKind::Weekday(month, week, weekday) => {
                let lengths = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
                let month = usize::from(month) - 1;
                let before: i64 = lengths[..month].iter().sum();
                // 1970-01-01 was a Thursday, day 4.
                let weekday_of_first = (first + before + 4).rem_euclid(7);
                let to_first = (i64::from(weekday) - weekday_of_first).rem_euclid(7);
                let mut day = to_first + 7 * (i64::from(week) - 1);
                while day >= lengths[month] {
                    day -= 7;
                }
                before + day
            }
        };
        (first + days) * 86_400 + self.second
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A zone without transitions, so that only the rule at the end of the file speaks.
    fn zone(tail: &str) -> Zone {
        let mut bytes = Vec::new();
        for _ in 0..2 {
            bytes.extend(b"TZif2");
            bytes.extend([0; 15]);
            for count in [0_u32, 0, 0, 0, 1, 4] {
                bytes.extend(count.to_be_bytes());
            }
            bytes.extend(0_i32.to_be_bytes());
            bytes.extend([0, 0]);
            bytes.extend(b"LMT\0");
        }
        bytes.extend(format!("\n{tail}\n").bytes());
        Zone::parse(&bytes).expect("a zone file")
    }

    fn check(tail: &str, at: UnixMs, want: &str) {
        assert_eq!(zone(tail).stamp(at).as_deref(), Some(want), "{tail}");
    }

    #[test]
    fn stamps_in_winter_and_summer_on_both_halves_of_the_globe() {
        let (winter, summer) = (1_768_487_405_000, 1_784_125_805_000);
        assert_eq!(Zone::Utc.stamp(winter).as_deref(), Some("Thu 2026-01-15T14:30Z"));
        check("EST5EDT,M3.2.0,M11.1.0", winter, "Thu 2026-01-15 09:30 EST");
        check("EST5EDT,M3.2.0,M11.1.0", summer, "Wed 2026-07-15 10:30 EDT");
        check("CET-1CEST,M3.5.0,M10.5.0/3", winter, "Thu 2026-01-15 15:30 GMT+1");
        check("CET-1CEST,M3.5.0,M10.5.0/3", summer, "Wed 2026-07-15 16:30 GMT+2");
        check("AEST-10AEDT,M10.1.0,M4.1.0/3", winter, "Fri 2026-01-16 01:30 GMT+11");
        check("AEST-10AEDT,M10.1.0,M4.1.0/3", summer, "Thu 2026-07-16 00:30 GMT+10");
        check("<+0530>-5:30", winter, "Thu 2026-01-15 20:00 GMT+5:30");
        check("CST-8", winter, "Thu 2026-01-15 22:30 GMT+8");
        check("UTC0", winter, "Thu 2026-01-15 14:30 UTC");
        check("GMT0BST,M3.5.0/1,M10.5.0", winter, "Thu 2026-01-15 14:30 GMT");
    }

    #[test]
    fn the_change_happens_to_the_second() {
        // 2026-03-29 01:00 UTC.
        let change = 1_774_746_000_000;
        check("CET-1CEST,M3.5.0,M10.5.0/3", change - 1000, "Sun 2026-03-29 01:59 GMT+1");
        check("CET-1CEST,M3.5.0,M10.5.0/3", change, "Sun 2026-03-29 03:00 GMT+2");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), magic: bool, at: i64) {
            if magic { bytes.splice(0..0, *b"TZif2"); }
            if let Some(zone) = Zone::parse(&bytes) { let _ = zone.stamp(at); }
        }
    }
}
