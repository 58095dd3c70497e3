//! Training of a byte-level BPE tokenizer.

use serde_json::Value;
use tokenizers::decoders::byte_level::ByteLevel as ByteLevelDecoder;
use tokenizers::models::bpe::{BpeTrainer, BPE};
use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, TokenizerImpl};

type OwnTokenizer = TokenizerImpl<
    BPE,
    NormalizerWrapper,
    PreTokenizerWrapper,
    TemplateProcessing,
    ByteLevelDecoder,
>;

const MAX_VOCAB: u64 = 1 << 20;

/// `request`: {"vocab_size": n, "special_tokens": [..]}. The first special token is the BOS that
/// plain encoding with special tokens puts in front.
pub fn train(request: &str, texts: &[&str]) -> Result<String, String> {
    let request: Value =
        serde_json::from_str(request).map_err(|err| format!("Bad training request: {err}."))?;
    let special: Vec<String> = request["special_tokens"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|token| token.as_str().map(str::to_string))
        .collect();
    let vocab_size = request["vocab_size"].as_u64().unwrap_or(0);
    let least = 256 + special.len() as u64;
    if !(least..=MAX_VOCAB).contains(&vocab_size) {
        return Err(format!(
            "A vocabulary of {vocab_size} cannot be trained: 256 bytes and {} special tokens need \
             {least}, and {MAX_VOCAB} is the most.",
            special.len()
        ));
    }

    let mut trainer = BpeTrainer::builder()
        .vocab_size(vocab_size as usize)
        .min_frequency(2)
        .show_progress(false)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(
            special
                .iter()
                .map(|token| AddedToken::from(token.clone(), true))
                .collect(),
        )
        .build();
    let mut tokenizer: OwnTokenizer = TokenizerImpl::new(BPE::default());
    // Digits one by one: numbers of any length then share the same ten tokens.
    tokenizer.with_pre_tokenizer(Some(PreTokenizerWrapper::Sequence(Sequence::new(vec![
        PreTokenizerWrapper::Digits(Digits::new(true)),
        PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, true, true)),
    ]))));
    tokenizer.with_decoder(Some(ByteLevelDecoder::new(false, true, true)));
    tokenizer
        .train(&mut trainer, texts.iter())
        .map_err(|err| format!("Training the tokenizer failed: {err}."))?;
    if let Some(bos) = special.first() {
        let processing = TemplateProcessing::builder()
            .try_single(vec![bos.clone(), "$A".to_string()])
            .map_err(|err| err.to_string())?
            .special_tokens(vec![(bos.clone(), 0u32)])
            .build()
            .map_err(|err| err.to_string())?;
        tokenizer.with_post_processor(Some(processing));
    }
    tokenizer.to_string(false).map_err(|err| err.to_string())
}
