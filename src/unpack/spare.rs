//! Decoders, used again, since layers are inflated by threads of their own.
//!
//! zstd's have the window of their layer, of up to 8 MiB: of six layers with such windows, one after
//! another, glibc's allocator kept the windows of two, and of three with as many threads as 96 processors
//! give. Gzip's take 110 KiB, for which glibc before 2.38 never uses what another one left, as it is aligned.

use std::io::{self, BufRead, Read};
use std::mem;

use flate2::bufread::GzDecoder;
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer, WriteBuf};

use crate::sync::Pool;

/// Largest window of a zstd stream, as a power of two (8 MiB): every decoder should take that much, says
/// RFC 8878 (§3.1.1.1.2), and zstd asks for more at its "ultra" levels alone. Each layer needs as much
/// memory as its window has, and a hostile one would ask for 128 MiB.
pub(super) const MAX_WINDOW_LOG: u32 = 23;

/// What a decoder reads.
pub(super) type Packed = Box<dyn BufRead + Send>;

static GZIP: Pool<GzDecoder<Packed>> = Pool::new();
static ZSTD: Pool<Decoder<'static>> = Pool::new();

/// A decoder of gzip members until the end of their source; given back when it is dropped.
pub(super) struct Gzip {
    decoder: Option<GzDecoder<Packed>>,
    /// At the source's end, or after an error.
    has_ended: bool,
}

/// A decoder of zstd frames, given back when it is dropped.
pub(super) struct Zstd(Option<Decoder<'static>>);

impl Gzip {
    /// One that stands at the beginning of `source`.
    pub(super) fn take(source: Packed) -> Self {
        let mut decoder = GZIP.take().unwrap_or_else(|| GzDecoder::new(nothing()));
        decoder.reset(source);
        Self { decoder: Some(decoder), has_ended: false }
    }

    /// Reads on, into the next member where one ends.
    fn read_on(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let decoder = self.decoder.as_mut().ok_or_else(gone)?;
        loop {
            let bytes = decoder.read(buffer)?;
            if bytes > 0 || decoder.get_mut().fill_buf()?.is_empty() {
                return Ok(bytes);
            }
            let source = mem::replace(decoder.get_mut(), nothing());
            decoder.reset(source);
        }
    }
}

impl Read for Gzip {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() || self.has_ended {
            return Ok(0);
        }
        let outcome = self.read_on(buffer);
        self.has_ended = match &outcome {
            Ok(bytes) => *bytes == 0,
            Err(error) => error.kind() != io::ErrorKind::Interrupted,
        };
        outcome
    }
}

impl Drop for Gzip {
    fn drop(&mut self) {
        let Some(mut decoder) = self.decoder.take() else { return };
        // The source ends here, not with the next layer.
        drop(decoder.reset(nothing()));
        GZIP.give_back(decoder);
    }
}

fn nothing() -> Packed {
    Box::new(io::empty())
}

/// A decoder is there until its owner is dropped.
fn gone() -> io::Error {
    io::Error::other("the decoder is gone")
}

impl Zstd {
    /// One that stands at a frame's beginning.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub(super) fn take() -> io::Result<Self> {
        let decoder = match ZSTD.take() {
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
        self.0.as_mut().ok_or_else(gone)
    }
}

impl Drop for Zstd {
    fn drop(&mut self) {
        let Some(mut decoder) = self.0.take() else { return };
        // What a layer left that broke off is not the next one's.
        if decoder.reinit().is_ok() {
            ZSTD.give_back(decoder);
        }
    }
}

impl Operation for Zstd {
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
