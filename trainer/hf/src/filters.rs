//! Filters and tests whose Jinja2 behaviour differs from the template engine's own.
//!
//! `safe` and `escape` give Jinja2's Markup: text that, joined to plain text, escapes the plain
//! side for HTML, even where nothing else is escaped (Mistral's template does this by accident, and
//! models were trained on what it wrote). The engine has no such type, so Markup travels as a text
//! between two marks; the formatter escapes what stands outside of them.

use std::borrow::Cow;
use std::sync::Arc;

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Output};

use crate::generation::Marks;
use crate::json;
use crate::python;

pub fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

/// The two marks around Markup text.
#[derive(Clone)]
struct Markup {
    open: Arc<str>,
    close: Arc<str>,
}

fn escape_html(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
}

impl Markup {
    fn is_marked(&self, text: &str) -> bool {
        text.contains(&*self.open)
    }

    fn wrap(&self, text: &str) -> String {
        format!("{}{text}{}", self.open, self.close)
    }

    fn remove<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.is_marked(text) || text.contains(&*self.close) {
            Cow::Owned(text.replace(&*self.open, "").replace(&*self.close, ""))
        } else {
            Cow::Borrowed(text)
        }
    }

    /// The characters that Jinja2 would have: what is outside of the marks escaped.
    fn resolve<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if !self.is_marked(text) {
            return Cow::Borrowed(text);
        }
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, tail)) = rest.split_once(&*self.open) {
            escape_html(before, &mut out);
            let (inside, after) = tail.split_once(&*self.close).unwrap_or((tail, ""));
            out.push_str(&self.remove(inside));
            rest = after;
        }
        escape_html(rest, &mut out);
        Cow::Owned(out)
    }

    fn safe(&self, value: &Value) -> Result<String, Error> {
        let text = python::to_str(value).map_err(invalid)?;
        Ok(self.wrap(&self.resolve(&text)))
    }

    fn escape(&self, value: &Value) -> Result<String, Error> {
        let text = python::to_str(value).map_err(invalid)?;
        if self.is_marked(&text) {
            return self.safe(value);
        }
        let mut escaped = String::new();
        escape_html(&text, &mut escaped);
        Ok(self.wrap(&escaped))
    }
}

/// Writes a value as `{{ value }}` does.
fn format_value(out: &mut Output, markup: &Markup, value: &Value) -> Result<(), Error> {
    let text = python::to_str(value).map_err(invalid)?;
    out.write_str(&markup.resolve(&text)).map_err(|err| {
        Error::new(ErrorKind::WriteFailure, "the output is too long").with_source(err)
    })
}

fn join(
    markup: &Markup,
    value: &Value,
    separator: Option<Value>,
    kwargs: Kwargs,
) -> Result<String, Error> {
    let attribute = kwargs.get::<Option<Value>>("attribute")?;
    let named = kwargs.get::<Option<Value>>("d")?;
    kwargs.assert_all_used()?;
    let separator = match separator.or(named) {
        Some(separator) => python::to_str(&separator).map_err(invalid)?,
        None => String::new(),
    };
    let mut out = String::new();
    if value.is_undefined() {
        return Ok(out);
    }
    for (at, item) in value.try_iter()?.enumerate() {
        if at > 0 {
            out.push_str(&separator);
        }
        let item = match &attribute {
            Some(key) => item.get_item(key)?,
            None => item,
        };
        out.push_str(&markup.remove(&python::to_str(&item).map_err(invalid)?));
    }
    Ok(out)
}

fn length(markup: &Markup, value: &Value) -> Result<usize, Error> {
    if let Some(text) = value.as_str() {
        return Ok(markup.resolve(text).chars().count());
    }
    if value.is_undefined() {
        return Ok(0);
    }
    value
        .len()
        .ok_or_else(|| invalid(format!("a value of type {} has no length", value.kind())))
}

fn trim(value: &Value, chars: Option<&str>) -> Result<String, Error> {
    let text = python::to_str(value).map_err(invalid)?;
    Ok(match chars {
        Some(chars) => text.trim_matches(|c| chars.contains(c)).to_string(),
        None => text.trim_matches(python::is_space).to_string(),
    })
}

fn with_default(
    converted: Option<Value>,
    default: Option<Value>,
    zero: Value,
) -> Result<Value, Error> {
    Ok(converted.or(default).unwrap_or(zero))
}

fn add_filters(env: &mut Environment<'static>, markup: &Markup) {
    let own = markup.clone();
    env.add_filter("safe", move |value: &Value| own.safe(value));
    for name in ["escape", "e"] {
        let own = markup.clone();
        env.add_filter(name, move |value: &Value| own.escape(value));
    }
    let own = markup.clone();
    env.add_filter(
        "tojson",
        move |value: &Value, ascii: Option<Value>, kwargs: Kwargs| {
            let text = json::tojson(value, ascii.is_some_and(|ascii| ascii.is_true()), kwargs)?;
            Ok::<String, Error>(own.remove(&text).into_owned())
        },
    );
    let own = markup.clone();
    env.add_filter(
        "join",
        move |value: &Value, separator: Option<Value>, kwargs: Kwargs| {
            join(&own, value, separator, kwargs)
        },
    );
    for name in ["length", "count"] {
        let own = markup.clone();
        env.add_filter(name, move |value: &Value| length(&own, value));
    }
    env.add_filter("string", |value: &Value| {
        python::to_str(value).map_err(invalid)
    });
    env.add_filter("trim", |value: &Value, chars: Option<&str>| {
        trim(value, chars)
    });
    env.add_filter(
        "float",
        |value: &Value, default: Option<Value>, kwargs: Kwargs| {
            let default = default.or(kwargs.get::<Option<Value>>("default")?);
            kwargs.assert_all_used()?;
            with_default(
                python::to_float(value).map(Value::from),
                default,
                Value::from(0.0),
            )
        },
    );
    env.add_filter(
        "int",
        |value: &Value, default: Option<Value>, kwargs: Kwargs| {
            let default = default.or(kwargs.get::<Option<Value>>("default")?);
            kwargs.assert_all_used()?;
            with_default(
                python::to_int(value).map(Value::from),
                default,
                Value::from(0),
            )
        },
    );
}

fn add_tests(env: &mut Environment<'static>) {
    // Python's strings and mappings have a length and items, which is all that Jinja2 asks.
    env.add_test("sequence", |value: &Value| {
        matches!(
            value.kind(),
            ValueKind::String | ValueKind::Seq | ValueKind::Map
        )
    });
    env.add_test("iterable", |value: &Value| {
        matches!(
            value.kind(),
            ValueKind::String | ValueKind::Seq | ValueKind::Map | ValueKind::Iterable
        )
    });
    env.add_test("number", |value: &Value| {
        matches!(value.kind(), ValueKind::Number | ValueKind::Bool)
    });
}

/// Sets up everything that templates may call, apart from methods.
pub fn register(env: &mut Environment<'static>, marks: &Marks) {
    let markup = Markup {
        open: marks.markup_open().into(),
        close: marks.markup_close().into(),
    };
    add_filters(env, &markup);
    add_tests(env);
    env.set_formatter(move |out, _state, value| format_value(out, &markup, value));
    env.add_function("raise_exception", |message: &Value| {
        Err::<Value, Error>(invalid(python::to_str(message).map_err(invalid)?))
    });
}
