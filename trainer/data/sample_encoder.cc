#include "trainer/data/sample_encoder.h"

#include <utility>

#include "trainer/data/message_forms.h"
#include "trainer/hf/loss_spans.h"
#include "trainer/model/file_io.h"

namespace ratchet::trainer {
namespace {

constexpr std::string_view kWhiteSpace = " \t\r\n";

RenderOptions render_options(const Row& row, bool add_generation_prompt = false) {
  RenderOptions options;
  options.tools_json = row.tools_json;
  options.add_generation_prompt = add_generation_prompt;
  return options;
}

Error no_template() {
  return Error{Code::kFailedPrecondition,
               "The row is a conversation, and no chat template is at hand: the model folder has "
               "none. Name one with data.chat_template in the spec, or with --template FILE."};
}

// A prompt/completion row as the chat row that a template takes.
Row chat_of(const Row& row) {
  Row chat;
  chat.kind = RowKind::kChat;
  chat.messages_json = as_conversation(row.prompt, row.completion);
  return chat;
}

bool joins_without_separator(const Row& row) {
  const bool before =
      row.prompt.empty() || kWhiteSpace.find(row.prompt.back()) != std::string_view::npos;
  const bool after =
      row.completion.empty() || kWhiteSpace.find(row.completion.front()) != std::string_view::npos;
  return before || after;
}

void untrain_first(EncodedSample& sample) {
  if (!sample.train.empty()) sample.train.front() = 0;
}

}  // namespace

SampleEncoder::SampleEncoder(const Tokenizer& tokenizer, const ChatTemplate* chat_template)
    : tokenizer_(tokenizer), template_(chat_template) {
  for (const AddedToken& token : tokenizer.added_tokens()) {
    if (token.special && !token.content.empty()) control_texts_.push_back(token.content);
  }
}

void SampleEncoder::add_bos_eos(EncodedSample& sample) const {
  if (const auto bos = tokenizer_.bos_id()) {
    sample.ids.insert(sample.ids.begin(), *bos);
    sample.train.insert(sample.train.begin(), 0);
  }
  if (const auto eos = tokenizer_.eos_id()) {
    sample.ids.push_back(*eos);
    sample.train.push_back(1);
  }
  untrain_first(sample);
}

Result<EncodedSample> SampleEncoder::encode_text(const Row& row) const {
  auto ids = tokenizer_.encode(row.text, AddSpecial::kNo);
  if (!ids) return ids.error();
  EncodedSample sample{row.text, *std::move(ids), {}};
  sample.train.assign(sample.ids.size(), 1);
  add_bos_eos(sample);
  return sample;
}

Result<EncodedSample> SampleEncoder::encode_pair(const Row& row) const {
  std::string text = row.prompt;
  if (!joins_without_separator(row)) text += '\n';
  const ByteSpan completion{text.size(), text.size() + row.completion.size()};
  text += row.completion;
  auto encoding = tokenizer_.encode_with_offsets(text, AddSpecial::kNo);
  if (!encoding) return encoding.error();
  EncodedSample sample{std::move(text), std::move(encoding->ids),
                       train_mask(encoding->offsets, std::span(&completion, 1))};
  add_bos_eos(sample);
  return sample;
}

// A template that knows content parts writes the same text for a list as for the joined string.
Status SampleEncoder::check_parts(const Row& row, const std::string& rendered) const {
  if (!row.has_parts) return ok();
  const auto joined = template_->render(with_joined_parts(row.messages_json), render_options(row));
  if (joined && joined->text == rendered) return ok();
  return Error{Code::kInvalidArgument,
               "The content is a list of parts, and the chat template does not read such lists: it "
               "writes something else than for the same text in one string. Write the content as "
               "one string."};
}

Result<EncodedSample> SampleEncoder::encode_chat(const Row& row) const {
  if (template_ == nullptr) return no_template();
  auto tokens =
      tokenize_conversation(tokenizer_, *template_, row.messages_json, render_options(row));
  if (!tokens) return tokens.error();
  if (auto parts = check_parts(row, tokens->text); !parts) return parts.error();
  EncodedSample sample{std::move(tokens->text), std::move(tokens->ids), std::move(tokens->train)};
  untrain_first(sample);
  return sample;
}

Result<EncodedSample> SampleEncoder::encode(const Row& row) const {
  switch (row.kind) {
    case RowKind::kText:
      return encode_text(row);
    case RowKind::kPromptCompletion:
      return template_ != nullptr ? encode_chat(chat_of(row)) : encode_pair(row);
    case RowKind::kChat:
      break;
  }
  return encode_chat(row);
}

Result<SampleView> SampleEncoder::view(const Row& row, bool add_generation_prompt) const {
  const bool chat = row.kind == RowKind::kChat ||
                    (row.kind == RowKind::kPromptCompletion && template_ != nullptr);
  if (!chat) {
    auto sample = encode(row);
    if (!sample) return sample.error();
    return SampleView{*std::move(sample), {}};
  }
  if (template_ == nullptr) return no_template();
  const Row conversation = row.kind == RowKind::kChat ? row : chat_of(row);
  const RenderOptions options = render_options(conversation, add_generation_prompt);
  auto tokens = tokenize_conversation(tokenizer_, *template_, conversation.messages_json, options);
  if (tokens) {
    SampleView view{{std::move(tokens->text), std::move(tokens->ids), std::move(tokens->train)},
                    {}};
    untrain_first(view.sample);
    return view;
  }
  auto rendered = template_->render(conversation.messages_json, options);
  if (!rendered) return rendered.error();
  auto ids = tokenizer_.encode(rendered->text, AddSpecial::kNo);
  if (!ids) return ids.error();
  SampleView view{{std::move(rendered->text), *std::move(ids), {}}, {}};
  if (add_generation_prompt) {
    view.sample.train.assign(view.sample.ids.size(), 0);  // a question: nothing is learned from it
  } else {
    view.fault = tokens.error().message;
  }
  return view;
}

std::vector<RowDoubt> SampleEncoder::doubts(const Row& row) const {
  std::vector<RowDoubt> doubts;
  for (const std::string& control : control_texts_) {
    const bool found = row.messages_json.find(control) != std::string::npos ||
                       row.text.find(control) != std::string::npos ||
                       row.prompt.find(control) != std::string::npos ||
                       row.completion.find(control) != std::string::npos;
    if (!found) continue;
    doubts.push_back({Rule::kControlTokenText,
                      cat("The data spells the control token '", control,
                          "'; the tokenizer reads it as the token, not as text."),
                      control});
    break;
  }
  if (!row.has_string_arguments || template_ == nullptr) return doubts;
  const RenderOptions options = render_options(row);
  const auto as_string = template_->render(row.messages_json, options);
  const auto as_object = template_->render(with_object_arguments(row.messages_json), options);
  if (as_string && as_object && as_string->text != as_object->text) {
    doubts.push_back({Rule::kStringArguments,
                      "The arguments of a tool call are a string, and the chat template writes "
                      "them otherwise than as an object.",
                      {}});
  }
  return doubts;
}

}  // namespace ratchet::trainer
