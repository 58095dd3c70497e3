//! Methods of Python's str that templates call, where minijinja-contrib's differ or are missing.

use minijinja::value::{from_args, Kwargs, Value, ValueKind};
use minijinja::{Error, State};
use minijinja_contrib::pycompat;

use crate::filters::invalid;
use crate::python::is_space;

pub fn call(state: &State, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    if value.kind() == ValueKind::String {
        if let Some(result) = str_method(value.as_str().unwrap_or_default(), method, args) {
            return result;
        }
    }
    pycompat::unknown_method_callback(state, value, method, args)
}

fn str_method(text: &str, method: &str, args: &[Value]) -> Option<Result<Value, Error>> {
    Some(match method {
        "strip" => strip(text, args, true, true),
        "lstrip" => strip(text, args, true, false),
        "rstrip" => strip(text, args, false, true),
        "split" => split_args(args).and_then(|(sep, max)| split(text, sep, max)),
        "rsplit" => split_args(args).and_then(|(sep, max)| rsplit(text, sep, max)),
        "splitlines" => splitlines(text, args),
        "find" => find(text, args, |text, what| text.find(what), false),
        "rfind" => find(text, args, |text, what| text.rfind(what), false),
        "index" => find(text, args, |text, what| text.find(what), true),
        "rindex" => find(text, args, |text, what| text.rfind(what), true),
        "count" => count(text, args),
        "partition" => partition(text, args, |text, sep| text.split_once(sep), true),
        "rpartition" => partition(text, args, |text, sep| text.rsplit_once(sep), false),
        "removeprefix" => from_args::<(&str,)>(args)
            .map(|(prefix,)| Value::from(text.strip_prefix(prefix).unwrap_or(text))),
        "removesuffix" => from_args::<(&str,)>(args)
            .map(|(suffix,)| Value::from(text.strip_suffix(suffix).unwrap_or(text))),
        "title" => from_args::<()>(args).map(|()| Value::from(title(text))),
        "isspace" => every(text, args, is_space),
        "isdigit" | "isnumeric" => every(text, args, char::is_numeric),
        "isalpha" => every(text, args, char::is_alphabetic),
        "isalnum" => every(text, args, char::is_alphanumeric),
        _ => return None,
    })
}

fn every(text: &str, args: &[Value], test: fn(char) -> bool) -> Result<Value, Error> {
    let () = from_args(args)?;
    Ok(Value::from(!text.is_empty() && text.chars().all(test)))
}

fn strip(text: &str, args: &[Value], left: bool, right: bool) -> Result<Value, Error> {
    let (chars,): (Option<&str>,) = from_args(args)?;
    let drop = |c: char| chars.map_or(is_space(c), |chars| chars.contains(c));
    let mut rest = text;
    if left {
        rest = rest.trim_start_matches(drop);
    }
    if right {
        rest = rest.trim_end_matches(drop);
    }
    Ok(Value::from(rest))
}

/// Separator (none: runs of white space) and the most splits to make (none: no limit).
fn split_args(args: &[Value]) -> Result<(Option<&str>, Option<usize>), Error> {
    let (separator, most, kwargs): (Option<&str>, Option<i64>, Kwargs) = from_args(args)?;
    let most = most.or(kwargs.get::<Option<i64>>("maxsplit")?);
    kwargs.assert_all_used()?;
    if separator == Some("") {
        return Err(invalid("split: the separator is empty"));
    }
    Ok((separator, most.and_then(|most| usize::try_from(most).ok())))
}

fn split(text: &str, separator: Option<&str>, most: Option<usize>) -> Result<Value, Error> {
    let pieces = most.map_or(usize::MAX, |most| most.saturating_add(1));
    if let Some(separator) = separator {
        return Ok(text.splitn(pieces, separator).map(Value::from).collect());
    }
    let mut parts = Vec::new();
    let mut rest = text.trim_start_matches(is_space);
    while !rest.is_empty() {
        if parts.len() + 1 == pieces {
            parts.push(Value::from(rest));
            break;
        }
        let end = rest.find(is_space).unwrap_or(rest.len());
        parts.push(Value::from(&rest[..end]));
        rest = rest[end..].trim_start_matches(is_space);
    }
    Ok(Value::from(parts))
}

fn rsplit(text: &str, separator: Option<&str>, most: Option<usize>) -> Result<Value, Error> {
    let pieces = most.map_or(usize::MAX, |most| most.saturating_add(1));
    let mut parts: Vec<Value> = Vec::new();
    match separator {
        Some(separator) => parts.extend(text.rsplitn(pieces, separator).map(Value::from)),
        None => {
            let mut rest = text.trim_end_matches(is_space);
            while !rest.is_empty() {
                if parts.len() + 1 == pieces {
                    parts.push(Value::from(rest));
                    break;
                }
                let word = rest.rsplit(is_space).next().unwrap_or(rest);
                parts.push(Value::from(word));
                rest = rest[..rest.len() - word.len()].trim_end_matches(is_space);
            }
        }
    }
    parts.reverse();
    Ok(Value::from(parts))
}

fn splitlines(text: &str, args: &[Value]) -> Result<Value, Error> {
    let (keep,): (Option<bool>,) = from_args(args)?;
    let ends = |c: char| {
        matches!(
            c,
            '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'
                ..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let line = rest.find(ends).unwrap_or(rest.len());
        let tail = &rest[line..];
        let width = match tail.starts_with("\r\n") {
            true => 2,
            false => tail.chars().next().map_or(0, char::len_utf8),
        };
        let shown = if keep.unwrap_or(false) {
            line + width
        } else {
            line
        };
        lines.push(Value::from(&rest[..shown]));
        rest = &rest[line + width..];
    }
    Ok(Value::from(lines))
}

/// Positions are counted in characters, as in Python.
fn find(
    text: &str,
    args: &[Value],
    search: fn(&str, &str) -> Option<usize>,
    must: bool,
) -> Result<Value, Error> {
    let (what,): (&str,) = from_args(args)?;
    match search(text, what) {
        Some(at) => Ok(Value::from(text[..at].chars().count())),
        None if must => Err(invalid("substring not found")),
        None => Ok(Value::from(-1)),
    }
}

fn count(text: &str, args: &[Value]) -> Result<Value, Error> {
    let (what,): (&str,) = from_args(args)?;
    Ok(Value::from(match what {
        "" => text.chars().count() + 1,
        what => text.matches(what).count(),
    }))
}

fn partition(
    text: &str,
    args: &[Value],
    cut: for<'a> fn(&'a str, &str) -> Option<(&'a str, &'a str)>,
    rest_first: bool,
) -> Result<Value, Error> {
    let (separator,): (&str,) = from_args(args)?;
    if separator.is_empty() {
        return Err(invalid("partition: the separator is empty"));
    }
    let parts = match (cut(text, separator), rest_first) {
        (Some((before, after)), _) => [before, separator, after],
        (None, true) => [text, "", ""],
        (None, false) => ["", "", text],
    };
    Ok(Value::from(parts.map(Value::from).to_vec()))
}

/// str.title: a letter after a character that is no letter is upper case, the others lower.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for c in text.chars() {
        match (c.is_alphabetic(), inside) {
            (true, true) => out.extend(c.to_lowercase()),
            (true, false) => out.extend(c.to_uppercase()),
            (false, _) => out.push(c),
        }
        inside = c.is_alphabetic();
    }
    out
}
