#include "trainer/hf/turn_proof.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

namespace ratchet::trainer {
namespace {

using Json = nlohmann::ordered_json;

// White space of Python's str.strip, which templates trim with.
bool is_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
         c == 0x205f || c == 0x3000;
}

// Length of the white space character that `text` begins with; 0 when it begins with another.
size_t leading_space(std::string_view text) {
  const auto byte = [text](size_t at) { return static_cast<unsigned char>(text[at]); };
  if (text.empty()) return 0;
  if (byte(0) < 0x80) return is_space(byte(0)) ? 1 : 0;
  if (text.size() >= 2 && (byte(0) & 0xe0) == 0xc0) {
    return is_space(char32_t{byte(0) & 0x1fU} << 6 | (byte(1) & 0x3fU)) ? 2 : 0;
  }
  if (text.size() >= 3 && (byte(0) & 0xf0) == 0xe0) {
    const char32_t c = char32_t{byte(0) & 0x0fU} << 12 | (byte(1) & 0x3fU) << 6 | (byte(2) & 0x3fU);
    return is_space(c) ? 3 : 0;
  }
  return 0;
}

std::string without_space(std::string_view text) {
  std::string kept;
  while (!text.empty()) {
    const size_t space = leading_space(text);
    if (space == 0) kept += text.front();
    text.remove_prefix(std::max<size_t>(space, 1));
  }
  return kept;
}

std::string_view trimmed(std::string_view text) {
  while (const size_t space = leading_space(text)) text.remove_prefix(space);
  for (bool again = true; again;) {
    again = false;
    for (size_t size = 1; size <= 3 && size <= text.size(); ++size) {
      if (leading_space(text.substr(text.size() - size)) != size) continue;
      text.remove_suffix(size);
      again = true;
      break;
    }
  }
  return text;
}

bool has_calls(const Json& message) {
  const auto calls = message.find("tool_calls");
  if (calls != message.end() && calls->is_array() && !calls->empty()) return true;
  const auto call = message.find("function_call");
  return call != message.end() && call->is_object();
}

// The message said plainly: `text` in place of the content, no calls.
std::string plain_turn(const Json& message, const std::string& text) {
  Json turn = message;
  turn.erase("tool_calls");
  turn.erase("function_call");
  const auto content = turn.find("content");
  if (content != turn.end() && content->is_array()) {
    *content = Json::array({Json{{"type", "text"}, {"text", text}}});
  } else {
    turn["content"] = text;
  }
  return turn.dump();
}

void rename_call(Json& call, const std::string& name) {
  if (!call.is_object()) return;
  Json& target =
      call.contains("function") && call["function"].is_object() ? call["function"] : call;
  target["name"] = name;
}

std::string renamed_calls(const Json& message, const std::string& name) {
  Json turn = message;
  if (const auto calls = turn.find("tool_calls"); calls != turn.end() && calls->is_array()) {
    for (Json& call : *calls) rename_call(call, name);
  }
  if (const auto call = turn.find("function_call"); call != turn.end()) rename_call(*call, name);
  return turn.dump();
}

size_t common_prefix(std::string_view a, std::string_view b) {
  return static_cast<size_t>(
      std::mismatch(a.begin(),
                    a.begin() + static_cast<std::ptrdiff_t>(std::min(a.size(), b.size())),
                    b.begin())
          .first -
      a.begin());
}

size_t common_suffix(std::string_view a, std::string_view b) {
  size_t size = 0;
  while (size < a.size() && size < b.size() && a[a.size() - 1 - size] == b[b.size() - 1 - size]) {
    ++size;
  }
  return size;
}

std::string in_quotes(std::string_view text) {
  constexpr size_t kShown = 60;
  const bool cut = text.size() > kShown;
  return "\"" + std::string(text.substr(0, kShown)) + (cut ? "...\"" : "\"");
}

}  // namespace

void TurnProof::choose_sentinels(const RenderOptions& options) {
  std::string haystack = template_.source() + options.tools_json + options.variables_json;
  for (const std::string& text : message_texts_) haystack += text;
  // Plain words: no template trims, splits or escapes them. They differ in length and in their
  // first and last letters, so that the text around them shows exactly.
  for (int attempt = 0;; ++attempt) {
    const std::string mark = "Zx" + std::to_string(attempt);
    if (haystack.find(mark) != std::string::npos) continue;
    sentinel_a_ = "Q" + mark + "alpha";
    sentinel_b_ = "W" + mark + "longerbetah";
    const SpecialTokens& tokens =
        options.special_tokens ? *options.special_tokens : template_.special_tokens();
    SpecialTokens replaced;
    for (const auto& [role, token] : tokens) {
      if (token.empty()) {
        replaced[role] = token;
        continue;
      }
      // One length for all, and a frame that no other sentinel holds: none is part of another.
      const std::string number = std::to_string(100 + variables_.size());
      variables_.emplace_back("V" + mark + "v" + number + "v", token);
      replaced[role] = variables_.back().first;
    }
    options_.special_tokens = std::move(replaced);
    return;
  }
}

std::string TurnProof::resolve(std::string_view text) const {
  std::string resolved(text);
  for (const auto& [sentinel, token] : variables_) {
    for (size_t at = resolved.find(sentinel); at != std::string::npos;
         at = resolved.find(sentinel, at + token.size())) {
      resolved.replace(at, sentinel.size(), token);
    }
  }
  return resolved;
}

Error TurnProof::refuse(size_t turn, const std::string& reason) const {
  return {Code::kUnsupported, "The loss cannot be placed on messages[" + std::to_string(turn) +
                                  "]: " + reason + " Use a template with {% generation %} tags (" +
                                  template_.origin() + " has none)."};
}

Result<TurnProof> TurnProof::start(const ChatTemplate& chat_template, const Json& messages,
                                   const RenderOptions& options, std::string_view rendered) {
  TurnProof proof(chat_template, messages);
  for (const Json& message : messages) proof.message_texts_.push_back(message.dump());
  proof.options_ = options;
  proof.choose_sentinels(options);
  auto base = proof.render(messages.size(), messages.size(), "", options.add_generation_prompt);
  if (!base || proof.resolve(*base) != rendered) {
    // The template looks at its special tokens, so they cannot be exchanged.
    proof.variables_.clear();
    proof.options_.special_tokens = options.special_tokens;
    base = std::string(rendered);
  }
  proof.base_ = std::move(*base);
  return proof;
}

// Renders the first `count` messages, with `turn_json` in place of messages[turn] if turn < count.
Result<std::string> TurnProof::render(size_t count, size_t turn, std::string_view turn_json,
                                      bool generation_prompt) const {
  std::string list = "[";
  for (size_t i = 0; i < count; ++i) {
    if (i > 0) list += ',';
    list += i == turn ? turn_json : std::string_view(message_texts_[i]);
  }
  list += ']';
  RenderOptions options = options_;
  options.add_generation_prompt = generation_prompt;
  auto rendered = template_.render(list, options);
  if (!rendered) return rendered.error();
  return std::move(rendered->text);
}

Result<TurnProof::Frame> TurnProof::frame(size_t count, size_t turn) const {
  const bool whole = count == messages_.size();
  const bool generation_prompt = whole && options_.add_generation_prompt;
  const char* what = whole ? "the conversation" : "the conversation cut after it";
  auto a = render(count, turn, plain_turn(messages_[turn], sentinel_a_), generation_prompt);
  auto b = render(count, turn, plain_turn(messages_[turn], sentinel_b_), generation_prompt);
  if (!a || !b) {
    return refuse(turn, std::string(what) + " does not render with other words in this turn. " +
                            (a ? b : a).error().message);
  }
  const size_t before = common_prefix(*a, *b);
  const size_t after = std::min(common_suffix(*a, *b), std::min(a->size(), b->size()) - before);
  Frame around{a->substr(0, before), a->substr(a->size() - after)};
  if (*a != around.before + sentinel_a_ + around.after ||
      *b != around.before + sentinel_b_ + around.after) {
    return refuse(turn, std::string("in ") + what +
                            " the template does not write the turn's content once and unchanged.");
  }
  return around;
}

// How many bytes at the end of `whole.before` the model writes itself.
Result<size_t> TurnProof::find_start(size_t turn, const Frame& whole, const Frame& cut) const {
  const auto prompted = render(turn, turn, "", true);
  const auto plain = render(turn, turn, "", false);
  const auto own_part = [&cut](const Result<std::string>& earlier) -> std::optional<std::string> {
    if (!earlier || !cut.before.starts_with(*earlier)) return std::nullopt;
    return cut.before.substr(earlier->size());
  };
  const auto changed = [this, turn] {
    return refuse(turn,
                  "the template shows this turn differently once later turns follow, so what is "
                  "trained here is not what the model will be asked for.");
  };
  if (const auto own = own_part(prompted)) {
    if (!whole.before.ends_with(*own)) return changed();
    // Without a generation prompt `own` may be the turn's header, unless it is blank.
    const bool has_prompt = !plain || *plain != *prompted;
    return has_prompt || trimmed(*own).empty() ? own->size() : size_t{0};
  }
  if (const auto own = own_part(plain)) {
    if (!whole.before.ends_with(*own)) return changed();
    return size_t{0};
  }
  if (whole.before != cut.before) return changed();
  return size_t{0};
}

// Moves a border inside a control token of `text` back to where that token begins.
size_t TurnProof::control_border(std::string_view text, size_t border) const {
  size_t least = border;
  const auto visit = [&](std::string_view token) {
    const size_t from = border < token.size() ? 0 : border - token.size() + 1;
    for (size_t at = text.find(token, from); at < border; at = text.find(token, at + 1)) {
      least = std::min(least, at);
    }
  };
  for (const std::string& token : template_.control_texts()) visit(token);
  for (const auto& variable : variables_) visit(variable.first);
  return least;
}

bool TurnProof::starts_with_control(std::string_view text) const {
  const auto& controls = template_.control_texts();
  return std::any_of(controls.begin(), controls.end(),
                     [text](const std::string& token) { return text.starts_with(token); }) ||
         std::any_of(variables_.begin(), variables_.end(),
                     [text](const auto& variable) { return text.starts_with(variable.first); });
}

Result<size_t> TurnProof::end_size(size_t turn, std::string_view cut_after,
                                   std::string_view whole_after) const {
  if (whole_after.starts_with(cut_after)) return cut_after.size();
  size_t border = common_prefix(cut_after, whole_after);
  for (size_t last = border + 1; border < last;) {
    last = border;
    border = std::min(control_border(cut_after, border), control_border(whole_after, border));
  }
  const bool shown = starts_with_control(cut_after.substr(border)) ||
                     starts_with_control(whole_after.substr(border));
  if (border == 0 || !shown) {
    return refuse(turn, "its end cannot be told: cut there the conversation goes on with " +
                            in_quotes(resolve(cut_after)) + ", whole it goes on with " +
                            in_quotes(resolve(whole_after)) + ".");
  }
  return border;
}

Status TurnProof::check_content(size_t turn, std::string_view shown) const {
  const Json& message = messages_[turn];
  const auto content = message.find("content");
  if (content == message.end() || content->is_null()) {
    return refuse(turn, "it has neither content nor tool calls.");
  }
  if (content->is_string()) {
    const auto& text = content->get_ref<const std::string&>();
    if (trimmed(text) == trimmed(shown)) return ok();
    return refuse(turn, "the template writes " + in_quotes(trimmed(shown)) + " for its content " +
                            in_quotes(trimmed(text)) + ".");
  }
  if (!content->is_array()) return refuse(turn, "its content is neither text nor a list.");
  std::string all;
  for (const Json& part : *content) {
    if (!part.is_object() || !part.contains("text") || !part["text"].is_string()) {
      return refuse(turn, "its content has a part that is not text.");
    }
    all += part["text"].get_ref<const std::string&>();
  }
  // Templates join parts with white space of their own.
  if (without_space(all) == without_space(shown)) return ok();
  return refuse(turn, "the template does not write the parts of its content one after another.");
}

// `before` and `after`: what must surround the turn whatever functions it calls.
Status TurnProof::check_calls(size_t turn, std::string_view before, std::string_view after) const {
  for (const std::string& name : {sentinel_a_, sentinel_b_}) {
    auto renamed = render(messages_.size(), turn, renamed_calls(messages_[turn], name),
                          options_.add_generation_prompt);
    if (!renamed) {
      return refuse(turn, "its tool calls do not render with other function names. " +
                              renamed.error().message);
    }
    const std::string_view text = *renamed;
    if (text.size() < before.size() + after.size() || !text.starts_with(before) ||
        !text.ends_with(after)) {
      return refuse(turn, "its tool calls change the text outside of the turn.");
    }
    const auto shown = text.substr(before.size(), text.size() - before.size() - after.size());
    if (shown.find(name) == std::string_view::npos) {
      return refuse(turn, "the template does not write its tool calls.");
    }
  }
  return ok();
}

Result<ByteSpan> TurnProof::span_of(size_t turn) const {
  auto whole = frame(messages_.size(), turn);
  if (!whole) return whole.error();
  auto cut = frame(turn + 1, turn);
  if (!cut) return cut.error();
  auto written = find_start(turn, *whole, *cut);
  if (!written) return written.error();
  auto ending = end_size(turn, cut->after, whole->after);
  if (!ending) return ending.error();

  const std::string_view base = base_;
  const size_t first = whole->before.size() - *written;
  // A turn may write something else where a plain one has, say, an empty <think> block.
  const size_t content = base.starts_with(whole->before) ? whole->before.size() : first;
  if (base.size() < content + whole->after.size() || !base.ends_with(whole->after) ||
      !base.starts_with(std::string_view(whole->before).substr(0, content))) {
    return refuse(turn, "what it says changes the text outside of the turn.");
  }
  const size_t last = base.size() - whole->after.size();
  const Status checked = has_calls(messages_[turn])
                             ? check_calls(turn, base.substr(0, first), whole->after)
                             : check_content(turn, base.substr(content, last - content));
  if (!checked) return checked.error();
  return ByteSpan{resolve(base.substr(0, first)).size(),
                  resolve(base.substr(0, last + *ending)).size()};
}

}  // namespace ratchet::trainer
