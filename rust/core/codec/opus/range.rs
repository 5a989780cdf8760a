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
/// After either end it reads zeros, as the specification has it: a broken frame gives wrong numbers,
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{RangeDecoder, bit_length};

    /// The encoder of section 5.1, with the whole number at hand instead of carries that are put off.
    struct RangeEncoder {
        /// Low end of the range: 31 bits, then digits of 8.
        head: u64,
        digits: Vec<u8>,
        range: u32,
        /// The first is read first.
        raw: Vec<bool>,
        total_bits: i32,
    }

    impl RangeEncoder {
        fn new() -> Self {
            Self {
                head: 0,
                digits: Vec::new(),
                range: 1 << 31,
                raw: Vec::new(),
                total_bits: 33,
            }
        }

        /// Adds to the low end, whose last digit is the last 8 bits of `value`.
        fn add(&mut self, value: u32) {
            let mut carry = u64::from(value);
            for digit in self.digits.iter_mut().rev() {
                carry += u64::from(*digit);
                *digit = carry as u8;
                carry >>= 8;
            }
            self.head += carry;
        }

        fn encode(&mut self, low: u32, high: u32, total: u32) {
            let scale = self.range / total;
            if low > 0 {
                self.add(self.range - scale * (total - low));
                self.range = scale * (high - low);
            } else {
                self.range -= scale * (total - high);
            }
            while self.range <= 1 << 23 {
                self.range <<= 8;
                self.digits.push(0);
                self.total_bits += 8;
            }
        }

        fn raw(&mut self, value: u32, count: u32) {
            self.raw.extend((0..count).map(|bit| value >> bit & 1 != 0));
            self.total_bits += count as i32;
        }

        fn uniform(&mut self, value: u32, total: u32) {
            let low = bit_length(total - 1).saturating_sub(8);
            let high = value >> low;
            self.encode(high, high + 1, ((total - 1) >> low) + 1);
            self.raw(value & ((1 << low) - 1), low);
        }

        /// The number's bits from the front, the raw ones from the end, and `slack` bytes between them.
        fn finish(mut self, slack: usize) -> Vec<u8> {
            // Any number in the range will do: its middle leaves zeros after.
            self.add(self.range / 2);
            let head = (0..31).rev().map(|bit| self.head >> bit & 1 != 0);
            let digits = self
                .digits
                .iter()
                .flat_map(|digit| (0..8).rev().map(move |bit| digit >> bit & 1 != 0));
            let pack = |bits: &[bool]| bits.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
            let bits: Vec<bool> = head.chain(digits).chain([false]).collect();
            let mut bytes: Vec<u8> = bits.chunks(8).map(pack).collect();
            bytes.extend(vec![0; slack]);
            let reversed: Vec<u8> = self
                .raw
                .chunks(8)
                .map(|bits| {
                    bits.iter()
                        .rev()
                        .fold(0, |byte, bit| byte << 1 | u8::from(*bit))
                })
                .collect();
            bytes.extend(reversed.iter().rev());
            bytes
        }
    }

    #[derive(Clone, Debug)]
    enum Symbol {
        Part { low: u32, high: u32, total: u32 },
        Bit { is_set: bool, log_probability: u32 },
        Table { symbol: usize },
        Uniform { value: u32, total: u32 },
        Raw { value: u32, count: u32 },
    }

    /// Inverse distribution of 32.
    const TABLE: [u8; 4] = [25, 23, 2, 0];

    fn symbol() -> impl Strategy<Value = Symbol> {
        let part = (1..32769_u32).prop_flat_map(|total| {
            (0..total).prop_flat_map(move |low| {
                (low + 1..=total).prop_map(move |high| Symbol::Part { low, high, total })
            })
        });
        let uniform = prop_oneof![2..300_u32, 2..=u32::MAX].prop_flat_map(|total| {
            (0..total).prop_map(move |value| Symbol::Uniform { value, total })
        });
        let raw = (0..26_u32).prop_flat_map(|count| {
            (0..1_u32 << count).prop_map(move |value| Symbol::Raw { value, count })
        });
        prop_oneof![
            part,
            (any::<bool>(), 1..16_u32).prop_map(|(is_set, log_probability)| Symbol::Bit {
                is_set,
                log_probability
            }),
            (0..4_usize).prop_map(|symbol| Symbol::Table { symbol }),
            uniform,
            raw,
        ]
    }

    fn encode(encoder: &mut RangeEncoder, symbol: &Symbol) {
        match *symbol {
            Symbol::Part { low, high, total } => encoder.encode(low, high, total),
            Symbol::Bit {
                is_set,
                log_probability,
            } => {
                let total = 1 << log_probability;
                let (low, high) = if is_set {
                    (total - 1, total)
                } else {
                    (0, total - 1)
                };
                encoder.encode(low, high, total);
            }
            Symbol::Table { symbol } => {
                let above = |at: usize| 32 - u32::from(TABLE[at]);
                let low = symbol.checked_sub(1).map_or(0, above);
                encoder.encode(low, above(symbol), 32);
            }
            Symbol::Uniform { value, total } => encoder.uniform(value, total),
            Symbol::Raw { value, count } => encoder.raw(value, count),
        }
    }

    /// Whether the symbol is what comes next.
    fn decodes(decoder: &mut RangeDecoder<'_>, symbol: &Symbol) -> bool {
        match *symbol {
            Symbol::Part { low, high, total } => {
                let at = match total.is_power_of_two() {
                    true => decoder.decode_bits(total.ilog2()),
                    false => decoder.decode(total),
                };
                decoder.update(low, high, total);
                (low..high).contains(&at)
            }
            Symbol::Bit {
                is_set,
                log_probability,
            } => decoder.bit(log_probability) == is_set,
            Symbol::Table { symbol } => decoder.symbol(&TABLE, 5) == symbol,
            Symbol::Uniform { value, total } => decoder.uniform(total) == value,
            Symbol::Raw { value, count } => decoder.raw(count) == value,
        }
    }

    /// The definition, in eighths: the range's logarithm is rounded down.
    fn eighths(total_bits: i32, range: u32) -> i32 {
        (8 * total_bits) - (8.0 * f64::from(range).log2()).floor() as i32 - 8
    }

    proptest! {
        #[test]
        fn symbols_come_back(symbols in prop::collection::vec(symbol(), 0..200), slack in 0..9_usize) {
            let mut encoder = RangeEncoder::new();
            let mut states = Vec::new();
            for symbol in &symbols {
                encode(&mut encoder, symbol);
                states.push((encoder.total_bits, encoder.range));
            }
            let bytes = encoder.finish(slack);
            let mut decoder = RangeDecoder::new(&bytes);
            prop_assert_eq!(decoder.tell(), 1);
            for (symbol, (total_bits, range)) in symbols.iter().zip(states) {
                prop_assert!(decodes(&mut decoder, symbol), "{:?}", symbol);
                prop_assert_eq!(decoder.state(), range);
                prop_assert_eq!(decoder.tell(), total_bits - bit_length(range) as i32);
                let difference = decoder.tell_eighths() - eighths(total_bits, range);
                prop_assert!(difference.abs() <= 1, "{}", difference);
            }
        }

        #[test]
        fn garbage_is_read_to_the_end_and_beyond(
            bytes in prop::collection::vec(any::<u8>(), 0..40),
            symbols in prop::collection::vec(symbol(), 0..200),
            cut in 0..50_usize,
        ) {
            let mut decoder = RangeDecoder::new(&bytes);
            for (at, symbol) in symbols.iter().enumerate() {
                if at == symbols.len() / 2 {
                    decoder.shorten(cut);
                }
                let before = decoder.tell_eighths();
                match *symbol {
                    // What an update takes must be what was decoded.
                    Symbol::Part { total, .. } => {
                        let found = decoder.decode(total);
                        prop_assert!(found < total);
                        decoder.update(found, found + 1, total);
                    }
                    Symbol::Uniform { total, .. } => prop_assert!(decoder.uniform(total) < total),
                    _ => {
                        decodes(&mut decoder, symbol);
                    }
                }
                prop_assert!(decoder.tell_eighths() >= before);
            }
        }
    }
}
