//! The two checksums of FLAC: RFC 9639, sections 9.1.8 (frame headers) and 9.3 (frames).

const fn crc8_table() -> [u8; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = index as u8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x80 != 0 {
                crc << 1 ^ 0x07
            } else {
                crc << 1
            };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
}

/// Table `n` has the checksum of each byte followed by `n` zero bytes.
const fn crc16_tables() -> [[u16; 256]; SLICE] {
    let mut tables = [[0; 256]; SLICE];
    let mut index = 0;
    while index < 256 {
        let mut crc = (index as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 {
                crc << 1 ^ 0x8005
            } else {
                crc << 1
            };
            bit += 1;
        }
        tables[0][index] = crc;
        index += 1;
    }
    let mut zeros = 1;
    while zeros < SLICE {
        let mut index = 0;
        while index < 256 {
            let crc = tables[zeros - 1][index];
            tables[zeros][index] = crc << 8 ^ tables[0][(crc >> 8) as usize];
            index += 1;
        }
        zeros += 1;
    }
    tables
}

/// Bytes that are looked up at once: only the first two wait for the ones before.
const SLICE: usize = 16;

static CRC8: [u8; 256] = crc8_table();
static CRC16: [[u16; 256]; SLICE] = crc16_tables();

/// Polynomial `x^8 + x^2 + x + 1`, from 0.
pub(super) fn crc8(bytes: &[u8]) -> u8 {
    bytes
        .iter()
        .fold(0, |crc, byte| CRC8[usize::from(crc ^ byte)])
}

/// Polynomial `x^16 + x^15 + x^2 + 1`, from 0; 0 over bytes that end in their own checksum.
pub(super) fn crc16(bytes: &[u8]) -> u16 {
    let (slices, rest) = bytes.as_chunks::<SLICE>();
    let crc = slices.iter().fold(0u16, |crc, slice| {
        let [high, low] = crc.to_be_bytes();
        let at = |place: usize, byte: u8| CRC16[SLICE - 1 - place][usize::from(byte)];
        // Written out, for the compiler does not unroll it; what waits for the last slice comes last.
        let second = at(2, slice[2]) ^ at(3, slice[3]) ^ at(4, slice[4]) ^ at(5, slice[5]);
        let third = at(6, slice[6]) ^ at(7, slice[7]) ^ at(8, slice[8]) ^ at(9, slice[9]);
        let fourth = at(10, slice[10]) ^ at(11, slice[11]) ^ at(12, slice[12]) ^ at(13, slice[13]);
        let free = second ^ third ^ fourth ^ at(14, slice[14]) ^ at(15, slice[15]);
        free ^ at(0, slice[0] ^ high) ^ at(1, slice[1] ^ low)
    });
    rest.iter().fold(crc, |crc, byte| {
        crc << 8 ^ CRC16[0][usize::from((crc >> 8) as u8 ^ byte)]
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Long division, bit by bit.
    fn naive(bytes: &[u8], bits: u32, polynomial: u32) -> u32 {
        let mut remainder = 0;
        for place in 0..8 * bytes.len() {
            let bit = u32::from(bytes[place / 8] >> (7 - place % 8) & 1);
            let top = remainder >> (bits - 1) & 1;
            remainder = (remainder << 1) & ((1 << bits) - 1);
            if top ^ bit == 1 {
                remainder ^= polynomial;
            }
        }
        remainder
    }

    proptest! {
        #[test]
        fn checksums_are_those_of_long_division(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(u32::from(crc8(&bytes)), naive(&bytes, 8, 0x07));
            prop_assert_eq!(u32::from(crc16(&bytes)), naive(&bytes, 16, 0x8005));
        }
    }
}
