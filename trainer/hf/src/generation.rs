//! `{% generation %}`: the tags are rewritten before compilation, their marks taken out afterwards.
//!
//! transformers implements the tag as a Jinja2 extension, which the template engine here has no
//! place for. The opening tag becomes `{% with %}MARK{% if true %}`, the closing one
//! `{% endif %}MARK{% endwith %}`, the outer braces with the tag's own `-` and `+`: a block tag
//! stands where a block tag stood, so trim_blocks and lstrip_blocks act on the text around it as
//! before. `with` has a scope of its own, as the body of Jinja2's extension has.
//!
//! A mark holds random digits drawn when the template is compiled. No content can forge it.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Texts that no input holds, drawn afresh for every compiled template.
pub struct Marks {
    nonce: String,
}

impl Marks {
    /// Draws until the digits do not occur in `source`.
    pub fn new(source: &str) -> Self {
        loop {
            let word = || RandomState::new().build_hasher().finish();
            let nonce = format!("{:020}{:020}", word(), word());
            if !source.contains(&nonce) {
                return Marks { nonce };
            }
        }
    }

    pub fn nonce(&self) -> &str {
        &self.nonce
    }

    // Digits survive `upper`, `lower` and `title`; U+FDD0.. are noncharacters, and no white space.
    fn mark(&self, kind: char) -> String {
        format!("\u{FDD0}{kind}{}\u{FDD1}", self.nonce)
    }

    pub fn generation_open(&self) -> String {
        self.mark('1')
    }

    pub fn generation_close(&self) -> String {
        self.mark('2')
    }

    pub fn markup_open(&self) -> String {
        self.mark('3')
    }

    pub fn markup_close(&self) -> String {
        self.mark('4')
    }
}

/// What one `{% ... %}` tag is: its name and its white space control on both sides.
struct BlockTag<'a> {
    name: &'a str,
    bare: bool, // nothing but the name inside
    left: &'a str,
    right: &'a str,
    end: usize, // offset behind `%}`
}

fn control(byte: Option<&u8>) -> usize {
    usize::from(matches!(byte, Some(b'-' | b'+')))
}

/// End of a tag that began before `from`: behind `close`, outside of strings and brackets.
fn tag_end(source: &str, from: usize, close: &str) -> Option<usize> {
    let bytes = source.as_bytes();
    let mut depth = 0usize;
    let mut at = from;
    while at < bytes.len() {
        if depth == 0 && source.as_bytes()[at..].starts_with(close.as_bytes()) {
            return Some(at + close.len());
        }
        match bytes[at] {
            quote @ (b'\'' | b'"') => {
                at += 1;
                while at < bytes.len() && bytes[at] != quote {
                    at += 1 + usize::from(bytes[at] == b'\\');
                }
            }
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    None
}

fn read_block_tag(source: &str, start: usize) -> Option<BlockTag<'_>> {
    let bytes = source.as_bytes();
    let left_end = start + 2 + control(bytes.get(start + 2));
    let end = tag_end(source, left_end, "%}")?;
    let mut right_start = end - 2;
    if right_start > left_end {
        right_start -= control(bytes.get(right_start - 1));
    }
    let inside = source[left_end..right_start].trim();
    let name_end = inside
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(inside.len());
    Some(BlockTag {
        name: &inside[..name_end],
        bare: name_end == inside.len(),
        left: &source[start + 2..left_end],
        right: &source[right_start..end - 2],
        end,
    })
}

/// Offset behind the `{% endraw %}` that closes a raw block whose body begins at `from`.
fn raw_end(source: &str, from: usize) -> usize {
    let mut at = from;
    while let Some(found) = source[at..].find("{%") {
        let start = at + found;
        if let Some(tag) = read_block_tag(source, start) {
            if tag.name == "endraw" && tag.bare {
                return tag.end;
            }
        }
        at = start + 2;
    }
    source.len()
}

/// Replaces the generation tags. Returns the new source and how many opening tags it had.
pub fn rewrite_tags(source: &str, marks: &Marks) -> (String, usize) {
    let bytes = source.as_bytes();
    let mut out = String::with_capacity(source.len() + 64);
    let mut opened = 0;
    let mut copied = 0;
    let mut at = 0;
    while let Some(found) = source[at..].find('{') {
        let start = at + found;
        match bytes.get(start + 1) {
            Some(b'#') => {
                at = source[start + 2..]
                    .find("#}")
                    .map_or(source.len(), |end| start + 2 + end + 2);
            }
            Some(b'{') => at = tag_end(source, start + 2, "}}").unwrap_or(source.len()),
            Some(b'%') => {
                let Some(tag) = read_block_tag(source, start) else {
                    break;
                };
                at = tag.end;
                let (before, mark, after) = match (tag.name, tag.bare) {
                    ("raw", true) => {
                        at = raw_end(source, tag.end);
                        continue;
                    }
                    ("generation", true) => ("with", marks.generation_open(), "if true"),
                    ("endgeneration", true) => ("endif", marks.generation_close(), "endwith"),
                    _ => continue,
                };
                opened += usize::from(tag.name == "generation");
                out.push_str(&source[copied..start]);
                out.push_str(&format!(
                    "{{%{} {before} %}}{mark}{{% {after} {}%}}",
                    tag.left, tag.right
                ));
                copied = tag.end;
            }
            _ => at = start + 1,
        }
    }
    out.push_str(&source[copied..]);
    (out, opened)
}

/// Takes the marks out of a render and returns the text and the byte ranges they enclosed.
pub fn take_spans(rendered: &str, marks: &Marks) -> Result<(String, Vec<(usize, usize)>), String> {
    let (open, close) = (marks.generation_open(), marks.generation_close());
    let mut text = String::with_capacity(rendered.len());
    let mut spans = Vec::new();
    let mut starts: Vec<usize> = Vec::new();
    let mut rest = rendered;
    while let Some(at) = rest.find('\u{FDD0}') {
        text.push_str(&rest[..at]);
        let tail = &rest[at..];
        if let Some(after) = tail.strip_prefix(open.as_str()) {
            starts.push(text.len());
            rest = after;
        } else if let Some(after) = tail.strip_prefix(close.as_str()) {
            let start = starts
                .pop()
                .ok_or("A {% endgeneration %} came before its {% generation %}.")?;
            // Of nested blocks the outermost counts.
            if starts.is_empty() {
                spans.push((start, text.len()));
            }
            rest = after;
        } else {
            let first = tail.chars().next().map_or(1, char::len_utf8);
            text.push_str(&tail[..first]);
            rest = &tail[first..];
        }
    }
    text.push_str(rest);
    if !starts.is_empty() || text.contains(marks.nonce()) {
        return Err(
            "The template cuts or keeps what its {% generation %} block wrote, so the block's \
             place in the text is lost."
                .to_string(),
        );
    }
    Ok((text, spans))
}
