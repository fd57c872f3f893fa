//! zstd's decoders, used again: each has the window of its layer, of up to 8 MiB.
//!
//! Layers are inflated by threads of their own, and an allocator keeps what a thread has let go for that
//! thread: of six layers with such windows, one after another, it kept the windows of two, and of three
//! with as many threads as 96 processors give.

use std::io;
use std::sync::Mutex;

use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer, WriteBuf};

use crate::sync::lock;

/// Largest window of a zstd stream, as a power of two (8 MiB): every decoder should take that much, says
/// RFC 8878 (§3.1.1.1.2), and zstd asks for more at its "ultra" levels alone. Each layer needs as much
/// memory as its window has, and a hostile one would ask for 128 MiB.
pub(super) const MAX_WINDOW_LOG: u32 = 23;

/// Decoders that nobody uses at the moment. There are never more than were in use at once.
static SPARE: Mutex<Vec<Decoder<'static>>> = Mutex::new(Vec::new());

/// A decoder that is given back when it is dropped.
pub(super) struct Spare(Option<Decoder<'static>>);

impl Spare {
    /// One that stands at a frame's beginning.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub(super) fn take() -> io::Result<Self> {
        let known = lock(&SPARE).pop();
        let decoder = match known {
            Some(decoder) => decoder,
            None => {
                let mut decoder = Decoder::new()?;
                decoder.set_parameter(DParameter::WindowLogMax(MAX_WINDOW_LOG))?;
                decoder
            }
        };
        Ok(Self(Some(decoder)))
    }

    fn decoder(&mut self) -> io::Result<&mut Decoder<'static>> {
        // It is there until this is dropped.
        self.0.as_mut().ok_or_else(|| io::Error::other("the decoder is gone"))
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        let Some(mut decoder) = self.0.take() else { return };
        // What a layer left that broke off is not the next one's.
        if decoder.reinit().is_ok() {
            lock(&SPARE).push(decoder);
        }
    }
}

impl Operation for Spare {
    fn run<C: WriteBuf + ?Sized>(
        &mut self,
        input: &mut InBuffer<'_>,
        output: &mut OutBuffer<'_, C>,
    ) -> io::Result<usize> {
        self.decoder()?.run(input, output)
    }

    fn flush<C: WriteBuf + ?Sized>(&mut self, output: &mut OutBuffer<'_, C>) -> io::Result<usize> {
        self.decoder()?.flush(output)
    }

    fn reinit(&mut self) -> io::Result<()> {
        self.decoder()?.reinit()
    }

    fn finish<C: WriteBuf + ?Sized>(
        &mut self,
        output: &mut OutBuffer<'_, C>,
        finished_frame: bool,
    ) -> io::Result<usize> {
        self.decoder()?.finish(output, finished_frame)
    }
}
