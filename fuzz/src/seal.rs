//! Streams with right checksums around whatever the fuzzer has put inside.

/// A FLAC stream (RFC 9639, section 9) in which each frame's two checksums are made right; a frame is
/// taken to begin at each sync code.
pub fn sealed_flac(stream: &[u8]) -> Vec<u8> {
    let mut sealed = stream.to_vec();
    let is_sync = |pair: &[u8]| pair[0] == 0xFF && pair[1] & 0xFE == 0xF8;
    let starts = sealed
        .windows(2)
        .enumerate()
        .filter(|(_, pair)| is_sync(pair));
    let mut edges: Vec<_> = starts.map(|(at, _)| at).collect();
    edges.push(sealed.len());
    for edge in edges.windows(2) {
        seal_frame(&mut sealed[edge[0]..edge[1]]);
    }
    sealed
}

fn seal_frame(frame: &mut [u8]) {
    let length = header_bytes(frame);
    if frame.len() < length + 3 {
        return;
    }
    frame[length] = crc(8, 0x07, &frame[..length]) as u8;
    let body = frame.len() - 2;
    let sum = crc(16, 0x8005, &frame[..body]) as u16;
    frame[body..].copy_from_slice(&sum.to_be_bytes());
}

/// Bytes of a frame's header before its CRC-8.
fn header_bytes(frame: &[u8]) -> usize {
    let byte = |at: usize| frame.get(at).copied().unwrap_or(0);
    let number = (byte(4).leading_ones() as usize).max(1);
    let size = match byte(2) >> 4 {
        6 => 1,
        7 => 2,
        _ => 0,
    };
    let rate = match byte(2) & 15 {
        12 => 1,
        13 | 14 => 2,
        _ => 0,
    };
    4 + number + size + rate
}

/// An Ogg stream (RFC 3533, section 6) in which the checksum of each page is made right.
pub fn sealed_ogg(stream: &[u8]) -> Vec<u8> {
    let mut sealed = stream.to_vec();
    let mut at = 0;
    while at + 27 <= sealed.len() {
        let page = &mut sealed[at..];
        if !page.starts_with(b"OggS") {
            at += 1;
            continue;
        }
        let segments = usize::from(page[26]);
        let body: usize = page[27..]
            .iter()
            .take(segments)
            .map(|lace| usize::from(*lace))
            .sum();
        let length = (27 + segments + body).min(page.len());
        seal_page(&mut page[..length]);
        at += length;
    }
    sealed
}

fn seal_page(page: &mut [u8]) {
    page[22..26].fill(0);
    let sum = crc(32, 0x04C1_1DB7, page);
    page[22..26].copy_from_slice(&sum.to_le_bytes());
}

/// A checksum of `width` bits, highest bit first, that begins with 0.
fn crc(width: u32, polynomial: u32, bytes: &[u8]) -> u32 {
    let top = 1u32 << (width - 1);
    let mask = u32::MAX >> (32 - width);
    let step = |sum: u32| (sum << 1) ^ if sum & top != 0 { polynomial } else { 0 };
    let byte = |sum: u32, byte: &u8| {
        (0..8).fold(sum ^ (u32::from(*byte) << (width - 8)), |sum, _| step(sum))
    };
    bytes.iter().fold(0, byte) & mask
}

/// Ogg Opus (RFC 7845) around packets: a byte for channels and mapping, one for the pre-skip, then
/// packets, each after its length in one byte.
pub fn opus_stream(bytes: &[u8]) -> Vec<u8> {
    let (&[kind, skip], mut rest) = bytes.split_first_chunk().unwrap_or((&[1, 0], &[]));
    let mut stream = page(2, 0, 0, &opus_head(kind, skip));
    stream.extend(page(0, 0, 1, b"OpusTags\0\0\0\0\0\0\0\0"));
    let (mut position, mut number) = (0, 2);
    while let Some((&length, behind)) = rest.split_first() {
        let (packet, next) = behind.split_at(usize::from(length).min(behind.len()));
        position += opus_frames(packet);
        let flags = if next.is_empty() { 4 } else { 0 };
        stream.extend(page(flags, position, number, packet));
        (rest, number) = (next, number + 1);
    }
    stream
}

fn opus_head(kind: u8, skip: u8) -> Vec<u8> {
    let channels = kind % 8 + 1;
    let mut head = b"OpusHead\x01".to_vec();
    head.push(channels);
    head.extend([skip, skip % 16, 0x80, 0xBB, 0, 0, 0, 0]);
    if channels <= 2 {
        head.push(0);
        return head;
    }
    let coupled = (kind / 8) % (channels / 2 + 1);
    head.extend([1, channels - coupled, coupled]);
    head.extend(0..channels);
    head
}

/// Samples at 48 kHz of a packet, by its first two bytes (RFC 6716, section 3.1).
fn opus_frames(packet: &[u8]) -> u64 {
    let byte = |at: usize| packet.get(at).copied().unwrap_or(0);
    let config = byte(0) >> 3;
    let frame = match config {
        0..12 => [480, 960, 1920, 2880][usize::from(config % 4)],
        12..16 => [480, 960][usize::from(config % 2)],
        _ => [120, 240, 480, 960][usize::from(config % 4)],
    };
    match byte(0) & 3 {
        0 => frame,
        1 | 2 => 2 * frame,
        _ => u64::from(byte(1) & 63) * frame,
    }
}

/// A page that holds one packet.
fn page(flags: u8, position: u64, number: u32, packet: &[u8]) -> Vec<u8> {
    let mut page = b"OggS\0".to_vec();
    page.push(flags);
    page.extend(position.to_le_bytes());
    page.extend(7u32.to_le_bytes());
    page.extend(number.to_le_bytes());
    page.extend([0; 4]);
    page.push((packet.len() / 255 + 1) as u8);
    page.extend(vec![255; packet.len() / 255]);
    page.push((packet.len() % 255) as u8);
    page.extend(packet);
    seal_page(&mut page);
    page
}

/// Spectral band replication and parametric stereo, each with its length before it, in sound packets of silence in ADTS.
pub fn he_aac_stream(bytes: &[u8]) -> Vec<u8> {
    /// Payloads shorter than that are told in another way.
    const LEAST: usize = 13;
    let (mut stream, mut rest) = (Vec::new(), bytes);
    while let Some((&length, behind)) = rest.split_first() {
        let (payload, behind) = behind.split_at(behind.len().min(usize::from(length)));
        rest = behind;
        let mut payload = payload.to_vec();
        payload.resize(payload.len().max(LEAST), 0);
        let escape = (payload.len() - LEAST) as u8;
        let size = 7 + 6 + payload.len() + 1;
        // 22.05 kHz, one channel.
        let head = [0xFF, 0xF1, 0x5C, 0x40 | (size >> 11) as u8, (size >> 3) as u8];
        stream.extend(head);
        stream.extend([(size << 5) as u8 | 0x1F, 0xFC]);
        // One channel without bands, a fill element, and in it what says that it is replication.
        stream.extend([0, 0xC8, 0, 6, 0xF0 | escape >> 4, escape << 4 | 0xD]);
        stream.extend(payload);
        stream.push(0x0E);
    }
    stream
}
