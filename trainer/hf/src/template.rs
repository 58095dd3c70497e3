//! A chat template, compiled once and rendered as transformers' apply_chat_template renders it.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::io::{self, Write};

use minijinja::value::Value;
use minijinja::{Environment, Error, UndefinedBehavior};

use crate::filters;
use crate::generation::{rewrite_tags, take_spans, Marks};
use crate::methods;
use crate::python;

/// The longest published template has some 25 KB.
const MAX_SOURCE_BYTES: usize = 4 << 20;
/// Instructions of one render: about 100 a message in published templates.
const FUEL: u64 = 20_000_000;
/// Output of one render: this much, and more for long input.
const OUTPUT_BYTES: usize = 64 << 20;
const OUTPUT_PER_INPUT_BYTE: usize = 16;

const NAME: &str = "chat template";

pub struct Template {
    env: Environment<'static>,
    marks: Marks,
    has_generation_tags: bool,
}

/// Collects a render up to a limit.
struct BoundedOutput {
    bytes: Vec<u8>,
    limit: usize,
}

impl Write for BoundedOutput {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + buf.len() > self.limit {
            return Err(io::Error::other(format!(
                "the output is longer than {} bytes",
                self.limit
            )));
        }
        self.bytes.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The engine's error in words, with the line of the template.
fn describe(err: &Error) -> String {
    let mut text = match err.detail() {
        Some(detail) => detail.to_string(),
        None => err.kind().to_string(),
    };
    let mut cause = err.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    match err.line() {
        Some(line) => format!("{text} (line {line} of the template)"),
        None => text,
    }
}

impl Template {
    pub fn compile(source: &str) -> Result<Self, String> {
        if source.len() > MAX_SOURCE_BYTES {
            return Err(format!(
                "It has {} bytes; more than {MAX_SOURCE_BYTES} is no chat template.",
                source.len()
            ));
        }
        let source = source.replace("\r\n", "\n").replace('\r', "\n");
        let marks = Marks::new(&source);
        let (rewritten, generation_tags) = rewrite_tags(&source, &marks);

        let mut env = Environment::new();
        env.set_trim_blocks(true);
        env.set_lstrip_blocks(true);
        env.set_undefined_behavior(UndefinedBehavior::Lenient);
        env.set_debug(false);
        env.set_fuel(Some(FUEL));
        env.set_unknown_method_callback(methods::call);
        filters::register(&mut env, &marks);
        env.add_template_owned(NAME, rewritten)
            .map_err(|err| format!("It does not compile: {}.", describe(&err)))?;
        Ok(Template {
            env,
            marks,
            has_generation_tags: generation_tags > 0,
        })
    }

    pub fn has_generation_tags(&self) -> bool {
        self.has_generation_tags
    }

    /// `variables` is a JSON object. Returns the text and what the generation blocks enclosed.
    pub fn render(
        &self,
        variables: &str,
        now_s: i64,
    ) -> Result<(String, Vec<(usize, usize)>), String> {
        if variables.contains(self.marks.nonce()) {
            return Err("The conversation holds the template's private marks.".to_string());
        }
        let parsed: serde_json::Map<String, serde_json::Value> = serde_json::from_str(variables)
            .map_err(|err| format!("The variables are not a JSON object: {err}."))?;
        let mut context: BTreeMap<String, Value> = parsed
            .into_iter()
            .map(|(name, value)| (name, Value::from_serialize(&value)))
            .collect();
        context.insert(
            "strftime_now".to_string(),
            Value::from_function(move |format: &str| {
                python::strftime(format, now_s).map_err(filters::invalid)
            }),
        );

        let mut output = BoundedOutput {
            bytes: Vec::new(),
            limit: OUTPUT_BYTES + OUTPUT_PER_INPUT_BYTE * variables.len(),
        };
        let template = self.env.get_template(NAME).map_err(|err| describe(&err))?;
        template
            .render_captured_to(Value::from_iter(context), &mut output)
            .map_err(|err| describe(&err))?;
        let text = String::from_utf8(output.bytes).map_err(|err| err.to_string())?;
        take_spans(&text, &self.marks)
    }
}
