#pragma once

// The C ABI of the Rust library in this folder (Hugging Face `tokenizers`, and `minijinja` for chat
// templates). Only the C++ files of this room include it; everybody else uses tokenizer.h,
// chat_template.h and bpe_training.h.
//
// Rules of every call:
//  - Strings in are (pointer, length) UTF-8, borrowed for the call; a null pointer is allowed with
//    length 0. Bytes that are not UTF-8 are an error, never undefined behaviour.
//  - Results come in out parameters. Return 0 is success; any other value is failure, and then
//    `*error` owns a sentence and every other out parameter is empty.
//  - What an out parameter owns is released with the matching rh_*_free, on success as on failure.
//    Freeing an empty (zeroed) value is allowed.
//  - A handle is released once with its own rh_*_free. Handles are immutable: any number of threads
//    may call the functions that take `const` handles.
//  - No call throws, unwinds or aborts: a panic inside is caught and returned as an error.

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct RhTokenizer RhTokenizer;
typedef struct RhTemplate RhTemplate;

typedef struct RhBytes {  // owned UTF-8 text; free with rh_bytes_free
  uint8_t* data;
  size_t size;
  size_t capacity;
} RhBytes;

typedef struct RhEncoding {  // owned; free with rh_encoding_free
  uint32_t* ids;             // [size]
  uint64_t* offsets;         // [2 * size]: begin, end of each token in bytes of the text given;
                             // null when offsets were not asked for
  size_t size;
} RhEncoding;

typedef struct RhRender {  // owned; free with rh_render_free
  RhBytes text;            // the rendered conversation, marks removed
  uint64_t* spans;  // [2 * span_count]: begin, end in bytes of what {% generation %} enclosed
  size_t span_count;
} RhRender;

// Values of `return` beside 0.
enum { kRhOk = 0, kRhInvalid = 1, kRhInternal = 2 };

void rh_bytes_free(RhBytes* bytes);
void rh_encoding_free(RhEncoding* encoding);
void rh_render_free(RhRender* render);

// Reads the bytes of a tokenizer.json. Truncation and padding that the file asks for are switched
// off. An added token whose id in the file is not the id that the library gives it is an error.
int rh_tokenizer_load(const uint8_t* json, size_t json_size, RhTokenizer** tokenizer,
                      RhBytes* error);
void rh_tokenizer_free(RhTokenizer* tokenizer);

// One more than the largest id, added tokens included; 0 for an empty vocabulary.
size_t rh_tokenizer_vocab_size(const RhTokenizer* tokenizer);

// -1 when the tokenizer has no such token.
int64_t rh_tokenizer_token_to_id(const RhTokenizer* tokenizer, const uint8_t* token, size_t size);

// The token's own spelling (a byte-level token stays in its byte-level alphabet).
int rh_tokenizer_id_to_token(const RhTokenizer* tokenizer, uint32_t id, RhBytes* token,
                             RhBytes* error);

// JSON array of {"content", "id", "special"} of the added tokens, by id.
int rh_tokenizer_added_tokens(const RhTokenizer* tokenizer, RhBytes* json, RhBytes* error);

int rh_tokenizer_encode(const RhTokenizer* tokenizer, const uint8_t* text, size_t text_size,
                        int add_special, int with_offsets, RhEncoding* encoding, RhBytes* error);
int rh_tokenizer_decode(const RhTokenizer* tokenizer, const uint32_t* ids, size_t id_count,
                        int skip_special, RhBytes* text, RhBytes* error);

// Compiles a chat template (Jinja2 as transformers sets it up).
int rh_template_compile(const uint8_t* source, size_t source_size, RhTemplate** compiled,
                        RhBytes* error);
void rh_template_free(RhTemplate* compiled);

// 1 when the template has {% generation %} tags outside of comments, raw blocks and strings.
int rh_template_has_generation_tags(const RhTemplate* compiled);

// Renders with the variables of a JSON object (messages, tools, bos_token, ...). `now_s` is the
// clock that strftime_now reads, in seconds since 1970-01-01 UTC.
int rh_template_render(const RhTemplate* compiled, const uint8_t* variables_json,
                       size_t variables_size, int64_t now_s, RhRender* render, RhBytes* error);

// Trains a byte-level BPE. `request_json`: {"vocab_size": n, "special_tokens": [..]}; `texts` holds
// the pieces one after another, `sizes` their lengths in bytes. The result is a tokenizer.json.
int rh_train_bpe(const uint8_t* request_json, size_t request_size, const uint8_t* texts,
                 const size_t* sizes, size_t text_count, RhBytes* tokenizer_json, RhBytes* error);

#ifdef __cplusplus
}
#endif
