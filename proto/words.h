#pragma once

// Enumerators and the words that stand for them in JSON, from one table an enumeration.
//
// An enumeration E takes part by declaring, in its own namespace,
//   std::span<const Word<E>> word_table(E);
// The argument only selects the overload. Words are lower_snake_case and never change meaning.

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace ratchet {

template <class E>
struct Word {
  E value;
  std::string_view word;
};

// The word of a value. Every enumerator is in its table (tests/proto/words_test.cc).
template <class E>
std::string_view to_word(E value) {
  for (const Word<E>& entry : word_table(E{})) {
    if (entry.value == value) return entry.word;
  }
  return "unknown";
}

template <class E>
std::optional<E> from_word(std::string_view word) {
  for (const Word<E>& entry : word_table(E{})) {
    if (entry.word == word) return entry.value;
  }
  return std::nullopt;
}

// "auto, cpu or cuda": for messages that say what is allowed.
template <class E>
std::string list_words() {
  const auto table = word_table(E{});
  std::string out;
  for (std::size_t i = 0; i < table.size(); ++i) {
    if (i > 0) out += (i + 1 == table.size()) ? " or " : ", ";
    out += table[i].word;
  }
  return out;
}

}  // namespace ratchet
