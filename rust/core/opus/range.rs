//! The range decoder that both layers of Opus read from: RFC 6716, section 4.1.

/// `log2` of the smallest range that is kept, and of the largest.
const BOTTOM_BITS: u32 = 23;
const TOP_BITS: u32 = 31;
/// Bits of the first byte that belong to the first symbol.
const FIRST_BITS: u32 = 7;
/// Bits of a uniform number that the range decoder takes; the others are raw.
const UNIFORM_BITS: u32 = 8;

/// Symbols from the front of a frame and raw bits from its end.
///
/// Behind either end it reads zeros, as the specification has it: a broken frame gives wrong numbers,
/// never a failure of the decoder itself.
#[derive(Clone, Debug)]
pub(crate) struct RangeDecoder<'a> {
    data: &'a [u8],
    /// Bytes taken from the front, and from the end.
    front: usize,
    back: usize,
    /// Raw bits that were read and not yet taken.
    window: u32,
    window_bits: u32,
    total_bits: i32,
    range: u32,
    value: u32,
    last_byte: u32,
    scale: u32,
}

/// Bits that a number takes; 0 takes none.
pub(crate) fn bit_length(value: u32) -> u32 {
    u32::BITS - value.leading_zeros()
}

impl<'a> RangeDecoder<'a> {
    /// Begins to read a frame.
    pub(crate) fn new(data: &'a [u8]) -> Self {
        let mut decoder = Self {
            data,
            front: 0,
            back: 0,
            window: 0,
            window_bits: 0,
            // Of the first byte, less what `refill` counts at once.
            total_bits: 9,
            range: 1 << FIRST_BITS,
            value: 0,
            last_byte: 0,
            scale: 0,
        };
        decoder.last_byte = decoder.next_byte();
        decoder.value = decoder.range - 1 - (decoder.last_byte >> (8 - FIRST_BITS));
        decoder.refill();
        decoder
    }

    /// Bytes of the frame.
    pub(crate) fn len(&self) -> usize {
        self.data.len()
    }

    /// What is left of the range: it differs from frame to frame.
    pub(crate) fn state(&self) -> u32 {
        self.range
    }

    /// Counts all bits of the frame as taken.
    pub(crate) fn skip_rest(&mut self) {
        self.total_bits += 8 * self.data.len() as i32 - self.tell();
    }

    /// Leaves the last `bytes` to another reader.
    pub(crate) fn shorten(&mut self, bytes: usize) {
        self.data = &self.data[..self.data.len().saturating_sub(bytes)];
    }

    fn next_byte(&mut self) -> u32 {
        let byte = self.data.get(self.front).copied().unwrap_or(0);
        self.front = (self.front + 1).min(self.data.len());
        u32::from(byte)
    }

    fn last_raw_byte(&mut self) -> u32 {
        if self.back >= self.data.len() {
            return 0;
        }
        self.back += 1;
        u32::from(self.data[self.data.len() - self.back])
    }

    fn refill(&mut self) {
        while self.range <= 1 << BOTTOM_BITS {
            self.total_bits += 8;
            self.range <<= 8;
            let high = self.last_byte;
            self.last_byte = self.next_byte();
            let byte = ((high << 8 | self.last_byte) >> (8 - FIRST_BITS)) & 255;
            self.value = ((self.value << 8) + (255 - byte)) & ((1 << TOP_BITS) - 1);
        }
    }

    /// Where in `total` the next symbol lies; [`RangeDecoder::update`] must follow.
    pub(crate) fn decode(&mut self, total: u32) -> u32 {
        self.scale = self.range / total;
        let at = self.value / self.scale;
        total - (at + 1).min(total)
    }

    /// As [`RangeDecoder::decode`] for a total of `1 << bits`.
    pub(crate) fn decode_bits(&mut self, bits: u32) -> u32 {
        self.scale = self.range >> bits;
        let at = self.value / self.scale;
        (1 << bits) - (at + 1).min(1 << bits)
    }

    /// Takes the symbol that reaches from `low` to `high` of `total`.
    pub(crate) fn update(&mut self, low: u32, high: u32, total: u32) {
        let below = self.scale.wrapping_mul(total - high);
        self.value = self.value.wrapping_sub(below);
        self.range = if low > 0 {
            self.scale.wrapping_mul(high - low)
        } else {
            self.range.wrapping_sub(below)
        };
        self.refill();
    }

    /// A bit that is set once in `1 << log_probability` times.
    pub(crate) fn bit(&mut self, log_probability: u32) -> bool {
        let split = self.range >> log_probability;
        let is_set = self.value < split;
        if is_set {
            self.range = split;
        } else {
            self.value -= split;
            self.range -= split;
        }
        self.refill();
        is_set
    }

    /// A symbol by its inverse cumulative distribution: it falls from below `1 << bits` to 0.
    pub(crate) fn symbol(&mut self, inverse_cdf: &[u8], bits: u32) -> usize {
        let scale = self.range >> bits;
        let (mut above, mut split) = (self.range, self.range);
        let mut symbol = 0;
        for (at, part) in inverse_cdf.iter().enumerate() {
            above = split;
            split = scale * u32::from(*part);
            symbol = at;
            if self.value >= split {
                break;
            }
        }
        self.value -= split;
        self.range = above - split;
        self.refill();
        symbol
    }

    /// A number below `total`, all of them alike: section 4.1.5. A broken one gives `total - 1`.
    pub(crate) fn uniform(&mut self, total: u32) -> u32 {
        let last = total - 1;
        let bits = bit_length(last);
        if bits <= UNIFORM_BITS {
            let symbol = self.decode(total);
            self.update(symbol, symbol + 1, total);
            return symbol;
        }
        let low_bits = bits - UNIFORM_BITS;
        let high_total = (last >> low_bits) + 1;
        let high = self.decode(high_total);
        self.update(high, high + 1, high_total);
        (high << low_bits | self.raw(low_bits)).min(last)
    }

    /// `count` raw bits, 25 at most, from the end of the frame: section 4.1.4.
    pub(crate) fn raw(&mut self, count: u32) -> u32 {
        if self.window_bits < count {
            while self.window_bits <= u32::BITS - 8 {
                self.window |= self.last_raw_byte() << self.window_bits;
                self.window_bits += 8;
            }
        }
        let bits = self.window & ((1 << count) - 1);
        self.window >>= count;
        self.window_bits -= count;
        self.total_bits += count as i32;
        bits
    }

    /// Bits taken so far, rounded up: section 4.1.6.1.
    pub(crate) fn tell(&self) -> i32 {
        self.total_bits - bit_length(self.range) as i32
    }

    /// Eighths of a bit taken so far, rounded up: section 4.1.6.2.
    pub(crate) fn tell_eighths(&self) -> i32 {
        /// Where the next eighth of an octave begins: `2^(15 + n / 8)`.
        const STEPS: [u32; 8] = [35733, 38967, 42495, 46340, 50535, 55109, 60097, 65535];
        let log = bit_length(self.range);
        let mantissa = self.range >> (log - 16);
        let linear = (mantissa >> 12) - 8;
        let above = u32::from(mantissa > STEPS[linear as usize & 7]);
        (self.total_bits << 3) - (log << 3 | linear) as i32 - above as i32
    }
}
