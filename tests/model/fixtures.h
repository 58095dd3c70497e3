#pragma once

// Small models and broken files for the tests of this room.

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "proto/result.h"
#include "trainer/model/model_config.h"
#include "trainer/model/random_weights.h"

namespace ratchet::testing {

// Asserts that a Result or Status is an error of `code` whose message holds `part`.
template <class R>
void expect_error(const R& result, Code code, std::string_view part) {
  ASSERT_FALSE(result.has_value()) << "no error, expected one about: " << part;
  EXPECT_STREQ(code_name(result.error().code), code_name(code)) << result.error().message;
  EXPECT_NE(result.error().message.find(part), std::string::npos) << result.error().message;
}

// A Result or Status must hold a value; says the error otherwise.
template <class R>
bool is_ok(const R& result) {
  if (result.has_value()) return true;
  ADD_FAILURE() << result.error().message;
  return false;
}

inline std::string read_bytes(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void write_bytes(const std::filesystem::path& path, std::string_view bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

// Length field + header + data: a safetensors file as its author claims it to be.
inline std::string safetensors_bytes(std::string_view header, std::string_view data) {
  std::string bytes;
  for (unsigned shift = 0; shift < 64; shift += 8) {
    bytes.push_back(static_cast<char>((header.size() >> shift) & 0xff));
  }
  bytes += header;
  bytes += data;
  return bytes;
}

// A Llama of 2 layers, D 16, F 24, 4 query and 2 key/value heads of 4, vocabulary 32, own head.
inline constexpr std::string_view kTinyLlama = R"({
  "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 32,
  "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
  "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
  "rms_norm_eps": 1e-05, "eos_token_id": [2, 3], "torch_dtype": "float32"})";

// The same sizes, as a Qwen2 with a tied head.
inline constexpr std::string_view kTinyTiedQwen2 = R"({
  "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "vocab_size": 32,
  "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
  "num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": true})";

inline trainer::ModelConfig tiny_config(std::string_view json = kTinyLlama) {
  Result<trainer::ModelConfig> config = trainer::parse_model_config(json);
  EXPECT_TRUE(config.has_value()) << (config ? "" : config.error().message);
  return config ? *config : trainer::ModelConfig{};
}

// A folder with config.json and random fp32 weights.
inline void make_tiny_model(const std::filesystem::path& folder, std::string_view json = kTinyLlama,
                            std::uint64_t max_shard_bytes = 1 << 30) {
  std::filesystem::create_directories(folder);
  write_bytes(folder / "config.json", json);
  trainer::RandomWeightsArgs args;
  args.dtype = trainer::DType::kF32;
  args.seed = 7;
  args.max_shard_bytes = max_shard_bytes;
  const Status written = trainer::write_random_weights(folder, tiny_config(json), args);
  ASSERT_TRUE(written.has_value()) << written.error().message;
}

}  // namespace ratchet::testing
