//! How Python writes values: str() and repr() of what a template prints, float(), strftime.

use minijinja::value::{Value, ValueKind};

/// Lists within lists beyond this depth are refused rather than followed.
pub const MAX_DEPTH: usize = 200;

pub fn is_space(c: char) -> bool {
    // str.isspace adds the four ASCII separators to Unicode's White_Space.
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// repr(float): shortest digits that read back equal, exponent below 1e-4 and from 1e16.
pub fn float_repr(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_string();
    }
    if value.is_infinite() {
        return if value < 0.0 { "-inf" } else { "inf" }.to_string();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = value.to_string();
        return if plain.contains('.') {
            plain
        } else {
            plain + ".0"
        };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

fn is_printable(c: char) -> bool {
    // Rust's Debug escapes what str.isprintable rejects; the leading letter keeps combining marks,
    // which are printable, from being escaped for standing alone.
    c == ' ' || !format!("{:?}", format!("a{c}")).contains("\\u{")
}

pub fn str_repr(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                out.push_str(&format!("\\x{:02x}", c as u32));
            }
            c if c.is_ascii() || is_printable(c) => out.push(c),
            c if (c as u32) < 0x100 => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if (c as u32) < 0x10000 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push_str(&format!("\\U{:08x}", c as u32)),
        }
    }
    out.push(quote);
    out
}

fn is_float(value: &Value) -> bool {
    value.kind() == ValueKind::Number && !value.is_integer()
}

fn as_float(value: &Value) -> f64 {
    f64::try_from(value.clone()).unwrap_or(f64::NAN)
}

/// str(value): what `{{ value }}` prints.
pub fn to_str(value: &Value) -> Result<String, String> {
    match value.as_str() {
        Some(text) => Ok(text.to_string()),
        None if value.is_undefined() => Ok(String::new()),
        None => repr(value, 0),
    }
}

fn repr(value: &Value, depth: usize) -> Result<String, String> {
    if depth > MAX_DEPTH {
        return Err("a value is nested too deeply to print".to_string());
    }
    if let Some(text) = value.as_str() {
        return Ok(str_repr(text));
    }
    match value.kind() {
        ValueKind::Undefined => Ok("Undefined".to_string()),
        ValueKind::Number if is_float(value) => Ok(float_repr(as_float(value))),
        ValueKind::Seq | ValueKind::Iterable => {
            let items = value.try_iter().map_err(|err| err.to_string())?;
            let parts: Result<Vec<_>, _> = items.map(|item| repr(&item, depth + 1)).collect();
            Ok(format!("[{}]", parts?.join(", ")))
        }
        ValueKind::Map => {
            let keys = value.try_iter().map_err(|err| err.to_string())?;
            let mut parts = Vec::new();
            for key in keys {
                let item = value.get_item(&key).map_err(|err| err.to_string())?;
                let (key, item) = (repr(&key, depth + 1)?, repr(&item, depth + 1)?);
                parts.push(format!("{key}: {item}"));
            }
            Ok(format!("{{{}}}", parts.join(", ")))
        }
        _ => Ok(value.to_string()),
    }
}

/// float(value, default) of Jinja2: what does not convert gives the default.
pub fn to_float(value: &Value) -> Option<f64> {
    match value.kind() {
        ValueKind::String => parse_float(value.as_str().unwrap_or_default()),
        ValueKind::Bool => Some(f64::from(u8::from(value.is_true()))),
        ValueKind::Number => Some(as_float(value)),
        _ => None,
    }
}

/// Digits with single underscores between them, as int() and float() allow.
fn strip_underscores(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let digit = |at: Option<&u8>| at.is_some_and(u8::is_ascii_digit);
    for (at, &byte) in bytes.iter().enumerate() {
        if byte == b'_' && !(at > 0 && digit(bytes.get(at - 1)) && digit(bytes.get(at + 1))) {
            return None;
        }
    }
    Some(text.replace('_', ""))
}

fn parse_float(text: &str) -> Option<f64> {
    strip_underscores(text.trim_matches(is_space))?.parse().ok()
}

/// int(value, default) of Jinja2: text that is no integer is tried as a float.
pub fn to_int(value: &Value) -> Option<i128> {
    match value.kind() {
        ValueKind::String => {
            let text = strip_underscores(value.as_str()?.trim_matches(is_space))?;
            match text.parse::<i128>() {
                Ok(number) => Some(number),
                Err(_) => truncate(parse_float(&text)?),
            }
        }
        ValueKind::Bool => Some(i128::from(value.is_true())),
        ValueKind::Number if is_float(value) => truncate(as_float(value)),
        ValueKind::Number => i128::try_from(value.clone()).ok(),
        _ => None,
    }
}

fn truncate(value: f64) -> Option<i128> {
    (value.is_finite() && value.abs() < 1e38).then_some(value as i128)
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

struct Clock {
    year: i64,
    month: usize, // 1..=12
    day: i64,
    weekday: usize, // 0 = Sunday
    day_of_year: i64,
    hour: i64,
    minute: i64,
    second: i64,
}

fn is_leap(year: i64) -> bool {
    (year % 4 == 0 && year % 100 != 0) || year % 400 == 0
}

fn month_days(year: i64, month: usize) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn clock(now_s: i64) -> Clock {
    // Years 1970 to 9999; strftime of other years is no use to a chat template.
    let now = now_s.clamp(0, 253_402_300_799);
    let (mut days, seconds) = (now / 86_400, now % 86_400);
    let weekday = ((days + 4) % 7) as usize;
    let mut year = 1970;
    while days >= 365 + i64::from(is_leap(year)) {
        days -= 365 + i64::from(is_leap(year));
        year += 1;
    }
    let day_of_year = days + 1;
    let mut month = 1;
    while days >= month_days(year, month) {
        days -= month_days(year, month);
        month += 1;
    }
    Clock {
        year,
        month,
        day: days + 1,
        weekday,
        day_of_year,
        hour: seconds / 3600,
        minute: seconds / 60 % 60,
        second: seconds % 60,
    }
}

/// datetime.strftime in the C locale, at UTC. `%-d` drops the padding, as glibc does.
pub fn strftime(format: &str, now_s: i64) -> Result<String, String> {
    let at = clock(now_s);
    let hour12 = (at.hour + 11) % 12 + 1;
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut code = chars.next();
        let unpadded = code == Some('-');
        if unpadded {
            code = chars.next();
        }
        let number = |value: i64, width: usize| match unpadded {
            true => value.to_string(),
            false => format!("{value:0width$}"),
        };
        out.push_str(&match code {
            Some('Y') => at.year.to_string(),
            Some('y') => number(at.year % 100, 2),
            Some('m') => number(at.month as i64, 2),
            Some('d') => number(at.day, 2),
            Some('e') => format!("{:>2}", at.day),
            Some('j') => number(at.day_of_year, 3),
            Some('H') => number(at.hour, 2),
            Some('I') => number(hour12, 2),
            Some('M') => number(at.minute, 2),
            Some('S') => number(at.second, 2),
            Some('f') => "000000".to_string(),
            Some('p') => if at.hour < 12 { "AM" } else { "PM" }.to_string(),
            Some('B') => MONTHS[at.month - 1].to_string(),
            Some('b' | 'h') => MONTHS[at.month - 1][..3].to_string(),
            Some('A') => WEEKDAYS[at.weekday].to_string(),
            Some('a') => WEEKDAYS[at.weekday][..3].to_string(),
            Some('w') => at.weekday.to_string(),
            Some('F') => strftime("%Y-%m-%d", now_s)?,
            Some('T') => strftime("%H:%M:%S", now_s)?,
            Some('D') => strftime("%m/%d/%y", now_s)?,
            Some('c') => strftime("%a %b %e %H:%M:%S %Y", now_s)?,
            Some('x') => strftime("%m/%d/%y", now_s)?,
            Some('X') => strftime("%H:%M:%S", now_s)?,
            Some('s') => now_s.to_string(),
            Some('Z') => "UTC".to_string(),
            Some('z') => "+0000".to_string(),
            Some('%') => "%".to_string(),
            other => {
                let code = other.map_or(String::new(), String::from);
                return Err(format!("strftime_now does not know the code '%{code}'"));
            }
        });
    }
    Ok(out)
}
