//! A tokenizer.json as the `tokenizers` crate reads it, made deterministic and checked.

use serde_json::Value;
use tokenizers::Tokenizer;

/// A published tokenizer.json is at most some 35 MB; this only stops nonsense.
const MAX_TOKENIZER_BYTES: usize = 512 << 20;

pub struct LoadedTokenizer {
    tokenizer: Tokenizer,
    vocab_size: usize,
}

impl LoadedTokenizer {
    pub fn from_json(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() > MAX_TOKENIZER_BYTES {
            return Err(format!(
                "It has {} bytes; more than {MAX_TOKENIZER_BYTES} is no tokenizer.json.",
                bytes.len()
            ));
        }
        let mut document: Value =
            serde_json::from_slice(bytes).map_err(|err| format!("It is not valid JSON: {err}."))?;
        let patched = drop_randomness(&mut document);
        let parsed = if patched {
            Tokenizer::from_bytes(document.to_string())
        } else {
            Tokenizer::from_bytes(bytes)
        };
        let mut tokenizer =
            parsed.map_err(|err| format!("The tokenizers library does not accept it: {err}."))?;
        // A truncation saved with the file would cut training rows without a word.
        tokenizer
            .with_truncation(None)
            .map_err(|err| err.to_string())?;
        tokenizer.with_padding(None);
        check_added_tokens(&document, &tokenizer)?;
        let vocab_size = tokenizer
            .get_vocab(true)
            .values()
            .max()
            .map_or(0, |&id| id as usize + 1);
        Ok(LoadedTokenizer {
            tokenizer,
            vocab_size,
        })
    }

    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.tokenizer.token_to_id(token)
    }

    pub fn id_to_token(&self, id: u32) -> Result<String, String> {
        self.tokenizer
            .id_to_token(id)
            .ok_or_else(|| self.unknown_id(id))
    }

    fn unknown_id(&self, id: u32) -> String {
        format!(
            "Token id {id} is not in the vocabulary, which ends at {}.",
            self.vocab_size.saturating_sub(1)
        )
    }

    pub fn added_tokens_json(&self) -> String {
        let mut tokens: Vec<_> = self
            .tokenizer
            .get_added_tokens_decoder()
            .into_iter()
            .collect();
        tokens.sort_by_key(|(id, _)| *id);
        let list = tokens
            .into_iter()
            .map(|(id, token)| {
                serde_json::json!({"content": token.content, "id": id, "special": token.special})
            })
            .collect();
        Value::Array(list).to_string()
    }

    pub fn encode(
        &self,
        text: &str,
        add_special: bool,
        with_offsets: bool,
    ) -> Result<(Vec<u32>, Option<Vec<u64>>), String> {
        let encoded = if with_offsets {
            self.tokenizer.encode(text, add_special)
        } else {
            self.tokenizer.encode_fast(text, add_special)
        };
        let encoding = encoded.map_err(|err| format!("The text could not be encoded: {err}."))?;
        let offsets = with_offsets.then(|| {
            encoding
                .get_offsets()
                .iter()
                .flat_map(|&(begin, end)| [begin as u64, end as u64])
                .collect()
        });
        Ok((encoding.get_ids().to_vec(), offsets))
    }

    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, String> {
        // The library leaves unknown ids out without a word.
        if let Some(&id) = ids
            .iter()
            .find(|&&id| self.tokenizer.id_to_token(id).is_none())
        {
            return Err(self.unknown_id(id));
        }
        self.tokenizer
            .decode(ids, skip_special)
            .map_err(|err| format!("The ids could not be decoded: {err}."))
    }
}

/// BPE dropout makes every encoding random. Returns whether the document was changed.
fn drop_randomness(document: &mut Value) -> bool {
    match document.pointer_mut("/model/dropout") {
        Some(dropout) if !dropout.is_null() => {
            *dropout = Value::Null;
            true
        }
        _ => false,
    }
}

/// The library numbers added tokens itself and only warns when the file says otherwise; a model
/// trained with the file's ids would then be fed wrong ones.
fn check_added_tokens(document: &Value, tokenizer: &Tokenizer) -> Result<(), String> {
    let Some(tokens) = document.get("added_tokens").and_then(Value::as_array) else {
        return Ok(());
    };
    for token in tokens {
        let (Some(id), Some(content)) = (
            token.get("id").and_then(Value::as_u64),
            token.get("content").and_then(Value::as_str),
        ) else {
            continue;
        };
        let given = tokenizer.token_to_id(content).map(u64::from);
        if !content.is_empty() && given != Some(id) {
            return Err(format!(
                "Its added token '{content}' has id {id} in the file, but {} by the order of the \
                 file: tokens before it are missing.",
                given.map_or("none".to_string(), |given| given.to_string())
            ));
        }
    }
    Ok(())
}
