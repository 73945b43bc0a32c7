//! A console with one port (§5.3): what the guest prints goes to a writer, what is typed waits for it.

use std::collections::VecDeque;
use std::io::{Read, Write};

use virtio_queue::Queue;

use super::chain::{self, Buffers};
use super::{Device, DriverFault, Memory};

/// Queues of port 0.
const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;

/// What waits for the guest at most.
pub const TYPED: usize = 64 << 10;
/// What is taken of one chain; the rest of a longer one is swallowed. Linux prints 16 bytes at a time,
/// and its terminals a page.
pub const TAKEN: usize = 64 << 10;

/// The device.
#[derive(Debug)]
pub struct Console<W> {
    output: W,
    typed: VecDeque<u8>,
    piece: Vec<u8>,
}

impl<W: Write> Console<W> {
    /// One that prints there.
    pub fn new(output: W) -> Self {
        Self {
            output,
            typed: VecDeque::new(),
            piece: vec![0; 4 << 10],
        }
    }

    /// Where it prints.
    pub const fn output(&self) -> &W {
        &self.output
    }

    /// Has these bytes wait for the guest; the device is to be poked at [`Self::INPUT`] then. How many of
    /// them there was room for.
    pub fn type_in(&mut self, bytes: &[u8]) -> usize {
        let room = TYPED.saturating_sub(self.typed.len()).min(bytes.len());
        self.typed.extend(&bytes[..room]);
        room
    }

    /// The queue of what is typed.
    pub const INPUT: u16 = RECEIVE;

    /// A buffer of the guest's to be filled.
    fn fill(&mut self, mut buffers: Buffers<'_>) -> Result<u32, DriverFault> {
        let part = self.typed.len().min(buffers.writable);
        if part == 0 {
            return Err(DriverFault::Request("for input without room for any"));
        }
        let bytes: Vec<u8> = self.typed.drain(..part).collect();
        buffers
            .writer
            .write_all(&bytes)
            .map_err(|_| DriverFault::Request("for input that cannot be written"))?;
        Ok(part as u32)
    }

    /// What the guest prints.
    fn print(&mut self, mut buffers: Buffers<'_>) -> Result<u32, DriverFault> {
        let mut left = buffers.readable.min(TAKEN);
        while left != 0 {
            let part = left.min(self.piece.len());
            let piece = &mut self.piece[..part];
            buffers
                .reader
                .read_exact(piece)
                .map_err(|_| DriverFault::Request("to print what cannot be read"))?;
            // A writer that fails loses output, not the guest.
            let _ = self.output.write_all(piece);
            left -= part;
        }
        Ok(0)
    }
}

impl<W: Write> Device for Console<W> {
    fn id(&self) -> u32 {
        3
    }

    fn features(&self) -> u64 {
        0
    }

    fn queues(&self) -> u16 {
        2
    }

    fn configuration(&self) -> &[u8] {
        &[]
    }

    fn serve(
        &mut self,
        number: u16,
        queue: &mut Queue,
        memory: &Memory,
    ) -> Result<bool, DriverFault> {
        match number {
            RECEIVE => chain::serve(queue, memory, self, |c| !c.typed.is_empty(), Self::fill),
            TRANSMIT => chain::serve(queue, memory, self, |_| true, Self::print),
            _ => Ok(false),
        }
    }
}
