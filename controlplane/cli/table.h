#pragma once

// Tables for people: aligned columns, the widest text column shrinks when the terminal is narrow.
// Pure. Cells are made printable; a table never breaks a line.

#include <cstddef>
#include <string>
#include <vector>

namespace ratchet::control::cli {

struct Column {
  std::string head;
  bool right = false;  // numbers
};

class Table {
 public:
  explicit Table(std::vector<Column> columns);
  // As many cells as there are columns; missing ones are empty.
  void add(std::vector<std::string> cells);
  [[nodiscard]] bool empty() const { return rows_.empty(); }
  // Lines with newlines; `width` 0: no limit, as without a terminal.
  [[nodiscard]] std::string render(std::size_t width) const;

 private:
  [[nodiscard]] std::vector<std::size_t> widths(std::size_t limit) const;
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// "name   value" lines, values aligned; pairs with an empty value are left out.
struct Fact {
  std::string name;
  std::string value;
};
std::string render_facts(const std::vector<Fact>& facts);

}  // namespace ratchet::control::cli
