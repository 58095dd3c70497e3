//! The plain structs of `ratchet_hf.h`, who owns them, and the guard that catches panics.

use std::any::Any;
use std::ffi::c_int;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Once;

const RH_OK: c_int = 0;
const RH_INVALID: c_int = 1;
const RH_INTERNAL: c_int = 2;

/// Owned UTF-8 text: the parts of a `Vec<u8>`.
#[repr(C)]
pub struct RhBytes {
    data: *mut u8,
    size: usize,
    capacity: usize,
}

impl RhBytes {
    pub fn empty() -> Self {
        RhBytes {
            data: std::ptr::null_mut(),
            size: 0,
            capacity: 0,
        }
    }

    pub fn from_string(text: String) -> Self {
        let mut bytes = std::mem::ManuallyDrop::new(text.into_bytes());
        RhBytes {
            data: bytes.as_mut_ptr(),
            size: bytes.len(),
            capacity: bytes.capacity(),
        }
    }

    /// # Safety
    /// The fields are those that `from_string` or `empty` wrote.
    pub unsafe fn release(&mut self) {
        if !self.data.is_null() {
            drop(Vec::from_raw_parts(self.data, self.size, self.capacity));
        }
        *self = RhBytes::empty();
    }
}

fn leak<T>(values: Vec<T>) -> *mut T {
    Box::into_raw(values.into_boxed_slice()) as *mut T
}

unsafe fn unleak<T>(data: *mut T, size: usize) {
    if !data.is_null() {
        drop(Box::from_raw(std::ptr::slice_from_raw_parts_mut(
            data, size,
        )));
    }
}

#[repr(C)]
pub struct RhEncoding {
    ids: *mut u32,
    offsets: *mut u64,
    size: usize,
}

impl RhEncoding {
    pub fn empty() -> Self {
        RhEncoding {
            ids: std::ptr::null_mut(),
            offsets: std::ptr::null_mut(),
            size: 0,
        }
    }

    /// `offsets`: begin and end of every id, or nothing.
    pub fn new(ids: Vec<u32>, offsets: Option<Vec<u64>>) -> Self {
        let size = ids.len();
        RhEncoding {
            ids: leak(ids),
            offsets: offsets.map_or(std::ptr::null_mut(), leak),
            size,
        }
    }

    /// # Safety
    /// The fields are those that `new` or `empty` wrote.
    pub unsafe fn release(&mut self) {
        unleak(self.ids, self.size);
        unleak(self.offsets, 2 * self.size);
        *self = RhEncoding::empty();
    }
}

#[repr(C)]
pub struct RhRender {
    text: RhBytes,
    spans: *mut u64,
    span_count: usize,
}

impl RhRender {
    pub fn empty() -> Self {
        RhRender {
            text: RhBytes::empty(),
            spans: std::ptr::null_mut(),
            span_count: 0,
        }
    }

    pub fn new(text: String, spans: Vec<(usize, usize)>) -> Self {
        let flat: Vec<u64> = spans
            .iter()
            .flat_map(|&(begin, end)| [begin as u64, end as u64])
            .collect();
        RhRender {
            text: RhBytes::from_string(text),
            span_count: spans.len(),
            spans: leak(flat),
        }
    }

    /// # Safety
    /// The fields are those that `new` or `empty` wrote.
    pub unsafe fn release(&mut self) {
        self.text.release();
        unleak(self.spans, 2 * self.span_count);
        *self = RhRender::empty();
    }
}

/// # Safety
/// `data` is null or valid for `size` bytes while the result lives.
pub unsafe fn borrow_bytes<'a>(data: *const u8, size: usize) -> &'a [u8] {
    borrow_slice(data, size)
}

/// # Safety
/// As `borrow_bytes`.
pub unsafe fn borrow_slice<'a, T>(data: *const T, size: usize) -> &'a [T] {
    if data.is_null() || size == 0 {
        &[]
    } else {
        std::slice::from_raw_parts(data, size)
    }
}

/// # Safety
/// As `borrow_bytes`.
pub unsafe fn borrow_str<'a>(data: *const u8, size: usize) -> Result<&'a str, String> {
    std::str::from_utf8(borrow_bytes(data, size)).map_err(|err| {
        format!(
            "The text is not valid UTF-8 from byte {}.",
            err.valid_up_to()
        )
    })
}

fn panic_text(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

/// Runs `body`; turns its error, or a panic inside it, into a status and a sentence.
///
/// # Safety
/// `error` is valid for writing.
pub unsafe fn guard(error: *mut RhBytes, body: impl FnOnce() -> Result<(), String>) -> c_int {
    static QUIET: Once = Once::new();
    // The default hook writes to stderr, which belongs to the program.
    QUIET.call_once(|| std::panic::set_hook(Box::new(|_| {})));
    *error = RhBytes::empty();
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => RH_OK,
        Ok(Err(message)) => {
            *error = RhBytes::from_string(message);
            RH_INVALID
        }
        Err(payload) => {
            let text = panic_text(payload.as_ref());
            *error = RhBytes::from_string(format!(
                "The library behind tokenizers and templates gave up on this input: {text}"
            ));
            RH_INTERNAL
        }
    }
}
