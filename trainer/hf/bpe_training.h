#pragma once

// Trains a tokenizer of our own: byte-level BPE over texts that the project ships. Deterministic:
// the same texts in the same order give the same bytes, on any number of threads.

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "proto/result.h"

namespace ratchet::trainer {

struct BpeTraining {
  int32_t vocab_size = 2048;  // special tokens and the 256 bytes included; at least 256 + specials
  std::vector<std::string> special_tokens = {"<|bos|>",  "<|eos|>",       "<|pad|>",
                                             "<|user|>", "<|assistant|>", "<|system|>"};
};

// The bytes of a tokenizer.json. Special tokens take the first ids, in the order given; the ids
// have no gap. The vocabulary is smaller than asked when the texts do not hold enough pairs.
Result<std::string> train_bpe(std::span<const std::string> texts, const BpeTraining& training);

// The chat template that goes with the default special tokens, with {% generation %} tags, and the
// tokenizer_config.json that holds it.
std::string default_chat_template();
std::string default_tokenizer_config();

// Writes tokenizer.json and tokenizer_config.json into `folder`, which must exist.
Status write_tokenizer_folder(const std::filesystem::path& folder,
                              const std::string& tokenizer_json,
                              const std::string& tokenizer_config_json);

}  // namespace ratchet::trainer
