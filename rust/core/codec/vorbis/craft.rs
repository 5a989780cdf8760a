//! Headers written bit by bit, with all that the format has and encoders leave out: floors of type 0,
//! residues of all types, code books of one entry, of values by entry, and of values that add up.

/// Bits on their way, the lowest first.
#[derive(Default)]
struct Writer {
    bytes: Vec<u8>,
    count: usize,
}

impl Writer {
    fn put(&mut self, value: u32, bits: usize) {
        for bit in 0..bits {
            self.bytes.resize(self.count / 8 + 1, 0);
            self.bytes[self.count / 8] |= ((value >> bit & 1) as u8) << (self.count % 8);
            self.count += 1;
        }
    }

    fn all(&mut self, fields: &[(u32, usize)]) {
        for (value, bits) in fields {
            self.put(*value, *bits);
        }
    }
}

/// Numbers that look random.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, end: u32) -> u32 {
        self.0 = self.0.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
        ((self.0 >> 33) % u64::from(end)) as u32
    }

    pub(super) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.below(256) as u8).collect()
    }
}

/// What can be chosen.
#[derive(Clone, Debug)]
pub(super) struct Design {
    pub(super) channels: u8,
    /// Exponents of the blocks.
    pub(super) blocks: [u8; 2],
    /// Types, of the short and of the long blocks.
    pub(super) floors: [u32; 2],
    pub(super) residues: [u32; 2],
    pub(super) is_coupled: bool,
    pub(super) seed: u64,
}

/// The identification header, and the setup header after it.
pub(super) fn headers(design: &Design) -> Vec<u8> {
    let mut random = Random(design.seed);
    let mut headers = b"\x01vorbis\0\0\0\0".to_vec();
    headers.push(design.channels);
    headers.extend(44_100u32.to_le_bytes());
    headers.extend([0; 12]);
    headers.extend([design.blocks[0] | design.blocks[1] << 4, 1]);
    headers.extend(b"\x05vorbis");
    let mut writer = Writer::default();
    books(&mut writer, &mut random);
    writer.all(&[(0, 6), (0, 16)]);
    writer.put(1, 6);
    for floor in design.floors {
        match floor {
            0 => floor_0(&mut writer, &mut random),
            _ => floor_1(&mut writer, &mut random),
        }
    }
    writer.put(1, 6);
    for kind in design.residues {
        residue(&mut writer, kind);
    }
    writer.put(1, 6);
    for number in 0..2 {
        mapping(&mut writer, design, number);
    }
    writer.put(1, 6);
    for mode in 0..2 {
        writer.all(&[(mode, 1), (0, 16), (0, 16), (mode, 8)]);
    }
    writer.put(1, 1);
    headers.extend(writer.bytes);
    headers
}

/// Values of a book, in quarters from -2 on.
enum Values {
    None,
    Lattice(u32),
    ByEntry { adds_up: u32 },
}

fn books(writer: &mut Writer, random: &mut Random) {
    let lengths = |pairs: &[(u32, usize)]| -> Vec<u32> {
        let each = pairs.iter().map(|(length, count)| vec![*length; *count]);
        each.flatten().collect()
    };
    writer.put(6, 8);
    // Classes: three of two partitions.
    book(
        writer,
        random,
        2,
        &lengths(&[(3, 7), (4, 2)]),
        &Values::None,
    );
    book(
        writer,
        random,
        2,
        &lengths(&[(5, 18), (4, 7)]),
        &Values::Lattice(5),
    );
    let adds_up = random.below(2);
    let unused = lengths(&[(4, 9), (0, 5), (4, 7)]);
    book(writer, random, 4, &unused, &Values::ByEntry { adds_up });
    // Heights of floors, and the choices in front of them.
    book(writer, random, 1, &lengths(&[(6, 64)]), &Values::None);
    book(writer, random, 8, &[1], &Values::ByEntry { adds_up: 0 });
    book(writer, random, 1, &lengths(&[(3, 8)]), &Values::None);
    // Longer than what is found at once, and of a floor of type 0.
    let long = lengths(&[
        (14, 2),
        (13, 1),
        (12, 1),
        (11, 1),
        (10, 1),
        (9, 1),
        (8, 1),
        (7, 1),
        (6, 1),
        (5, 1),
        (4, 1),
        (3, 3),
        (2, 1),
        (3, 2),
    ]);
    book(writer, random, 3, &long, &Values::ByEntry { adds_up: 1 });
}

fn book(
    writer: &mut Writer,
    random: &mut Random,
    dimensions: u32,
    lengths: &[u32],
    values: &Values,
) {
    let entries = lengths.len() as u32;
    writer.all(&[(0x56_4342, 24), (dimensions, 16), (entries, 24), (0, 1)]);
    let is_sparse = lengths.contains(&0);
    writer.put(u32::from(is_sparse), 1);
    for length in lengths {
        if is_sparse {
            writer.put(u32::from(*length > 0), 1);
        }
        if *length > 0 {
            writer.put(length - 1, 5);
        }
    }
    let (kind, count, adds_up) = match values {
        Values::None => return writer.put(0, 4),
        Values::Lattice(count) => (1, *count, 0),
        Values::ByEntry { adds_up } => (2, entries * dimensions, *adds_up),
    };
    // -2 and a quarter.
    writer.all(&[
        (kind, 4),
        (1 << 31 | 788 << 21 | 2, 32),
        (786 << 21 | 1, 32),
        (3, 4),
        (adds_up, 1),
    ]);
    for _ in 0..count {
        writer.put(random.below(16), 4);
    }
}

fn floor_0(writer: &mut Writer, random: &mut Random) {
    let order = 2 + random.below(4);
    writer.all(&[
        (0, 16),
        (order, 8),
        (44_100, 16),
        (40 + random.below(40), 16),
        (6, 6),
    ]);
    writer.all(&[(20, 8), (0, 4), (6, 8)]);
}

fn floor_1(writer: &mut Writer, random: &mut Random) {
    writer.all(&[(1, 16), (3, 5), (0, 4), (1, 4), (0, 4)]);
    // Two points of one book, and three of two books.
    writer.all(&[(1, 3), (0, 2), (4, 8)]);
    writer.all(&[(2, 3), (1, 2), (5, 8), (0, 8), (4, 8)]);
    let multiplier = [0, 1, 3][random.below(3) as usize];
    writer.all(&[(multiplier, 2), (7, 4)]);
    let mut places: Vec<u32> = (1..128).collect();
    for _ in 0..7 {
        let place = places.swap_remove(random.below(places.len() as u32) as usize);
        writer.put(place, 7);
    }
}

fn residue(writer: &mut Writer, kind: u32) {
    writer.all(&[(kind, 16), (0, 24), (64, 24), (7, 24), (2, 6), (0, 8)]);
    // The first class has no book, the second one in the first pass, and the third in four.
    writer.all(&[(0, 3), (0, 1), (1, 3), (0, 1), (7, 3), (1, 1), (1, 5)]);
    writer.all(&[(1, 8), (2, 8), (1, 8), (4, 8), (1, 8)]);
}

fn mapping(writer: &mut Writer, design: &Design, number: u32) {
    let is_coupled = design.is_coupled && design.channels > 1;
    writer.all(&[(0, 16), (0, 1), (u32::from(is_coupled), 1)]);
    if is_coupled {
        // Each channel with the next one: the order of the steps matters.
        let bits = (u8::BITS - (design.channels - 1).leading_zeros()) as usize;
        writer.put(u32::from(design.channels) - 2, 8);
        for channel in 1..u32::from(design.channels) {
            writer.all(&[(channel - 1, bits), (channel, bits)]);
        }
    }
    writer.all(&[(0, 2), (0, 8), (number, 8), (number, 8)]);
}
