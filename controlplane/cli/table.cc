#include "controlplane/cli/table.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "controlplane/cli/format.h"

namespace ratchet::control::cli {
namespace {

constexpr std::size_t kGap = 2;
constexpr std::size_t kNarrowest = 6;  // a column is not shrunk below

void append_cell(std::string& line, const std::string& cell, std::size_t width, bool right) {
  if (!line.empty()) line.append(kGap, ' ');
  const std::size_t pad = width - std::min(width, columns_of(cell));
  if (right) line.append(pad, ' ');
  line += cell;
  if (!right) line.append(pad, ' ');
}

void end_line(std::string& line) {
  line.erase(line.find_last_not_of(' ') + 1);
  line += '\n';
}

}  // namespace

Table::Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

void Table::add(std::vector<std::string> cells) {
  cells.resize(columns_.size());
  for (std::string& cell : cells) cell = printable(cell);
  rows_.push_back(std::move(cells));
}

std::vector<std::size_t> Table::widths(std::size_t limit) const {
  std::vector<std::size_t> widths;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    std::size_t widest = columns_of(columns_[i].head);
    for (const auto& row : rows_) widest = std::max(widest, columns_of(row[i]));
    widths.push_back(widest);
  }
  const std::size_t gaps = widths.empty() ? 0 : (widths.size() - 1) * kGap;
  while (limit > 0 && std::accumulate(widths.begin(), widths.end(), gaps) > limit) {
    auto widest = widths.end();
    for (auto it = widths.begin(); it != widths.end(); ++it) {
      const bool text = !columns_[static_cast<std::size_t>(it - widths.begin())].right;
      if (text && *it > kNarrowest && (widest == widths.end() || *it > *widest)) widest = it;
    }
    if (widest == widths.end()) break;
    --*widest;
  }
  return widths;
}

std::string Table::render(std::size_t width) const {
  const auto wide = widths(width);
  std::string out;
  std::string line;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    append_cell(line, fit(columns_[i].head, wide[i]), wide[i], columns_[i].right);
  }
  end_line(line);
  out += line;
  for (const auto& row : rows_) {
    line.clear();
    for (std::size_t i = 0; i < row.size(); ++i) {
      append_cell(line, fit(row[i], wide[i]), wide[i], columns_[i].right);
    }
    end_line(line);
    out += line;
  }
  return out;
}

std::string render_facts(const std::vector<Fact>& facts) {
  std::size_t widest = 0;
  for (const Fact& fact : facts) {
    if (!fact.value.empty()) widest = std::max(widest, columns_of(fact.name));
  }
  std::string out;
  for (const Fact& fact : facts) {
    if (fact.value.empty()) continue;
    out += fact.name + std::string(widest - columns_of(fact.name) + kGap, ' ');
    out += printable(fact.value) + "\n";
  }
  return out;
}

}  // namespace ratchet::control::cli
