//! Hugging Face tokenizers and chat templates behind the C ABI that `ratchet_hf.h` declares.
//!
//! This file holds the ABI alone: pointers in, owned buffers out, every panic caught. What the
//! functions do is in the modules, which are safe Rust.

mod abi;
mod bpe;
mod filters;
mod generation;
mod json;
mod methods;
mod python;
mod template;
mod tokenizer;

use std::ffi::c_int;

use abi::{borrow_bytes, borrow_slice, borrow_str, guard, RhBytes, RhEncoding, RhRender};
use template::Template;
use tokenizer::LoadedTokenizer;

/// # Safety
/// `bytes` is null or points to an `RhBytes` that this library filled or that is zeroed.
#[no_mangle]
pub unsafe extern "C" fn rh_bytes_free(bytes: *mut RhBytes) {
    if let Some(bytes) = bytes.as_mut() {
        bytes.release();
    }
}

/// # Safety
/// As `rh_bytes_free`.
#[no_mangle]
pub unsafe extern "C" fn rh_encoding_free(encoding: *mut RhEncoding) {
    if let Some(encoding) = encoding.as_mut() {
        encoding.release();
    }
}

/// # Safety
/// As `rh_bytes_free`.
#[no_mangle]
pub unsafe extern "C" fn rh_render_free(render: *mut RhRender) {
    if let Some(render) = render.as_mut() {
        render.release();
    }
}

/// # Safety
/// Pointers are valid for the sizes given, out parameters for writing.
#[no_mangle]
pub unsafe extern "C" fn rh_tokenizer_load(
    json: *const u8,
    json_size: usize,
    tokenizer: *mut *mut LoadedTokenizer,
    error: *mut RhBytes,
) -> c_int {
    *tokenizer = std::ptr::null_mut();
    guard(error, || {
        let loaded = LoadedTokenizer::from_json(borrow_bytes(json, json_size))?;
        *tokenizer = Box::into_raw(Box::new(loaded));
        Ok(())
    })
}

/// # Safety
/// `tokenizer` is null or came from `rh_tokenizer_load` and is not used again.
#[no_mangle]
pub unsafe extern "C" fn rh_tokenizer_free(tokenizer: *mut LoadedTokenizer) {
    if !tokenizer.is_null() {
        drop(Box::from_raw(tokenizer));
    }
}

/// # Safety
/// `tokenizer` is a live handle.
#[no_mangle]
pub unsafe extern "C" fn rh_tokenizer_vocab_size(tokenizer: *const LoadedTokenizer) -> usize {
    (*tokenizer).vocab_size()
}

/// # Safety
/// `tokenizer` is a live handle, `token` valid for `size` bytes.
#[no_mangle]
pub unsafe extern "C" fn rh_tokenizer_token_to_id(
    tokenizer: *const LoadedTokenizer,
    token: *const u8,
    size: usize,
) -> i64 {
    match borrow_str(token, size) {
        Ok(token) => (*tokenizer).token_to_id(token).map_or(-1, i64::from),
        Err(_) => -1,
    }
}

/// # Safety
/// `tokenizer` is a live handle, out parameters are valid.
#[no_mangle]
pub unsafe extern "C" fn rh_tokenizer_id_to_token(
    tokenizer: *const LoadedTokenizer,
    id: u32,
    token: *mut RhBytes,
    error: *mut RhBytes,
) -> c_int {
    *token = RhBytes::empty();
    guard(error, || {
        *token = RhBytes::from_string((*tokenizer).id_to_token(id)?);
        Ok(())
    })
}

/// # Safety
/// `tokenizer` is a live handle, out parameters are valid.
#[no_mangle]
pub unsafe extern "C" fn rh_tokenizer_added_tokens(
    tokenizer: *const LoadedTokenizer,
    json: *mut RhBytes,
    error: *mut RhBytes,
) -> c_int {
    *json = RhBytes::empty();
    guard(error, || {
        *json = RhBytes::from_string((*tokenizer).added_tokens_json());
        Ok(())
    })
}

/// # Safety
/// `tokenizer` is a live handle, `text` valid for `text_size` bytes, out parameters are valid.
#[no_mangle]
pub unsafe extern "C" fn rh_tokenizer_encode(
    tokenizer: *const LoadedTokenizer,
    text: *const u8,
    text_size: usize,
    add_special: c_int,
    with_offsets: c_int,
    encoding: *mut RhEncoding,
    error: *mut RhBytes,
) -> c_int {
    *encoding = RhEncoding::empty();
    guard(error, || {
        let text = borrow_str(text, text_size)?;
        let (ids, offsets) = (*tokenizer).encode(text, add_special != 0, with_offsets != 0)?;
        *encoding = RhEncoding::new(ids, offsets);
        Ok(())
    })
}

/// # Safety
/// `tokenizer` is a live handle, `ids` valid for `id_count` ids, out parameters are valid.
#[no_mangle]
pub unsafe extern "C" fn rh_tokenizer_decode(
    tokenizer: *const LoadedTokenizer,
    ids: *const u32,
    id_count: usize,
    skip_special: c_int,
    text: *mut RhBytes,
    error: *mut RhBytes,
) -> c_int {
    *text = RhBytes::empty();
    guard(error, || {
        let ids = borrow_slice(ids, id_count);
        *text = RhBytes::from_string((*tokenizer).decode(ids, skip_special != 0)?);
        Ok(())
    })
}

/// # Safety
/// `source` is valid for `source_size` bytes, out parameters are valid.
#[no_mangle]
pub unsafe extern "C" fn rh_template_compile(
    source: *const u8,
    source_size: usize,
    compiled: *mut *mut Template,
    error: *mut RhBytes,
) -> c_int {
    *compiled = std::ptr::null_mut();
    guard(error, || {
        let template = Template::compile(borrow_str(source, source_size)?)?;
        *compiled = Box::into_raw(Box::new(template));
        Ok(())
    })
}

/// # Safety
/// `compiled` is null or came from `rh_template_compile` and is not used again.
#[no_mangle]
pub unsafe extern "C" fn rh_template_free(compiled: *mut Template) {
    if !compiled.is_null() {
        drop(Box::from_raw(compiled));
    }
}

/// # Safety
/// `compiled` is a live handle.
#[no_mangle]
pub unsafe extern "C" fn rh_template_has_generation_tags(compiled: *const Template) -> c_int {
    c_int::from((*compiled).has_generation_tags())
}

/// # Safety
/// `compiled` is a live handle, the JSON valid for its size, out parameters are valid.
#[no_mangle]
pub unsafe extern "C" fn rh_template_render(
    compiled: *const Template,
    variables_json: *const u8,
    variables_size: usize,
    now_s: i64,
    render: *mut RhRender,
    error: *mut RhBytes,
) -> c_int {
    *render = RhRender::empty();
    guard(error, || {
        let variables = borrow_str(variables_json, variables_size)?;
        let (text, spans) = (*compiled).render(variables, now_s)?;
        *render = RhRender::new(text, spans);
        Ok(())
    })
}

/// # Safety
/// `sizes` is valid for `text_count` sizes, `texts` for their sum, out parameters are valid.
#[no_mangle]
pub unsafe extern "C" fn rh_train_bpe(
    request_json: *const u8,
    request_size: usize,
    texts: *const u8,
    sizes: *const usize,
    text_count: usize,
    tokenizer_json: *mut RhBytes,
    error: *mut RhBytes,
) -> c_int {
    *tokenizer_json = RhBytes::empty();
    guard(error, || {
        let request = borrow_str(request_json, request_size)?;
        let mut pieces = Vec::with_capacity(text_count);
        let mut offset = 0usize;
        for &size in borrow_slice(sizes, text_count) {
            pieces.push(borrow_str(texts.wrapping_add(offset), size)?);
            offset += size;
        }
        *tokenizer_json = RhBytes::from_string(bpe::train(request, &pieces)?);
        Ok(())
    })
}
