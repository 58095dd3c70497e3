#pragma once

// How the rows of a data file are laid out, from its first bytes.

#include <string_view>

#include "trainer/data/row_reader.h"

namespace ratchet::trainer {

// `head`: the start of the file behind its byte-order mark. A file that starts with '[' and whose
// first line is a whole JSON value is JSON Lines of wrong rows, unless that line is all there is
// and holds rows; any other file that starts with '[' is an array. A file that starts with
// {"conversations": [{ and whose first element looks like a conversation, not like a turn, is a
// conversation document. All else is JSON Lines.
LayoutGuess guess_layout(std::string_view head);

}  // namespace ratchet::trainer
