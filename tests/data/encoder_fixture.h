#pragma once

// A small tokenizer of our own and its chat template, for tests that need no shared inputs.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "trainer/hf/bpe_training.h"
#include "trainer/hf/chat_template.h"
#include "trainer/hf/tokenizer.h"

namespace ratchet::trainer {

inline Tokenizer small_tokenizer() {
  const std::vector<std::string> texts = {"the model learns from the rows of the data set",
                                          "a question and an answer, a prompt and its completion"};
  BpeTraining training;
  training.vocab_size = 320;
  const auto json = train_bpe(texts, training);
  EXPECT_TRUE(json) << json.error().message;
  auto tokenizer = Tokenizer::from_bytes(json.value(), default_tokenizer_config());
  EXPECT_TRUE(tokenizer) << tokenizer.error().message;
  return std::move(tokenizer).value();
}

// The same without the names of bos and eos.
inline Tokenizer nameless_tokenizer() {
  const std::vector<std::string> texts = {"some text to learn a few merges from, some text"};
  BpeTraining training;
  training.vocab_size = 300;
  const auto json = train_bpe(texts, training);
  EXPECT_TRUE(json) << json.error().message;
  auto tokenizer = Tokenizer::from_bytes(json.value());
  EXPECT_TRUE(tokenizer) << tokenizer.error().message;
  return std::move(tokenizer).value();
}

inline ChatTemplate small_template() {
  auto compiled = ChatTemplate::from_source(default_chat_template(),
                                            {{"bos_token", "<|bos|>"}, {"eos_token", "<|eos|>"}});
  EXPECT_TRUE(compiled) << compiled.error().message;
  return std::move(compiled).value();
}

inline ChatTemplate template_of(const std::string& source) {
  auto compiled =
      ChatTemplate::from_source(source, {{"bos_token", "<|bos|>"}, {"eos_token", "<|eos|>"}});
  EXPECT_TRUE(compiled) << compiled.error().message;
  return std::move(compiled).value();
}

}  // namespace ratchet::trainer
