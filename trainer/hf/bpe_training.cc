#include "trainer/hf/bpe_training.h"

#include <fstream>
#include <nlohmann/json.hpp>

#include "trainer/hf/rust_call.h"

namespace ratchet::trainer {

Result<std::string> train_bpe(std::span<const std::string> texts, const BpeTraining& training) {
  const nlohmann::json request = {{"vocab_size", training.vocab_size},
                                  {"special_tokens", training.special_tokens}};
  const std::string request_json =
      request.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  std::string joined;
  std::vector<size_t> sizes;
  for (const std::string& text : texts) {
    joined += text;
    sizes.push_back(text.size());
  }
  RustBytes tokenizer_json;
  RustBytes message;
  if (rh_train_bpe(rust_data(request_json), request_json.size(), rust_data(joined), sizes.data(),
                   sizes.size(), tokenizer_json.out(), message.out()) != kRhOk) {
    return rust_error(Code::kInvalidArgument, "The tokenizer could not be trained", message);
  }
  return std::string(tokenizer_json.view());
}

std::string default_chat_template() {
  // The tags enclose what the model writes: its text and the token that ends its turn.
  return "{{- bos_token }}\n"
         "{%- for message in messages %}\n"
         "    {%- if message['role'] not in ['system', 'user', 'assistant'] %}\n"
         "        {{- raise_exception('This template has no place for the role ' + "
         "message['role'] + '.') }}\n"
         "    {%- endif %}\n"
         "    {{- '<|' + message['role'] + '|>' }}\n"
         "    {%- if message['role'] == 'assistant' %}\n"
         "        {%- generation %}\n"
         "        {{- message['content'] | trim + eos_token }}\n"
         "        {%- endgeneration %}\n"
         "    {%- else %}\n"
         "        {{- message['content'] | trim }}\n"
         "    {%- endif %}\n"
         "{%- endfor %}\n"
         "{%- if add_generation_prompt %}\n"
         "    {{- '<|assistant|>' }}\n"
         "{%- endif %}\n";
}

std::string default_tokenizer_config() {
  const nlohmann::ordered_json config = {
      {"add_bos_token", true},
      {"bos_token", "<|bos|>"},
      {"chat_template", default_chat_template()},
      {"clean_up_tokenization_spaces", false},
      {"eos_token", "<|eos|>"},
      {"model_max_length", 1000000},
      {"pad_token", "<|pad|>"},
      {"tokenizer_class", "PreTrainedTokenizerFast"},
  };
  return config.dump(2) + "\n";
}

Status write_tokenizer_folder(const std::filesystem::path& folder,
                              const std::string& tokenizer_json,
                              const std::string& tokenizer_config_json) {
  const auto write = [&folder](const char* name, const std::string& bytes) {
    std::ofstream file(folder / name, std::ios::binary | std::ios::trunc);
    file << bytes;
    file.close();
    return file.good();
  };
  if (!write("tokenizer.json", tokenizer_json) ||
      !write("tokenizer_config.json", tokenizer_config_json)) {
    return Error{Code::kIo, "The tokenizer could not be written to '" + folder.string() +
                                "'. Check that the folder exists and has room."};
  }
  return ok();
}

}  // namespace ratchet::trainer
