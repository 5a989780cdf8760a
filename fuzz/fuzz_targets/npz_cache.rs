//! Cache entries: edits of a right one, or any bytes, are an error or the array that was put.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::fs::File;
use std::io::{Seek, Write};

use ossicle::npz::{Array, Dtype, Entry, Label, read, view};

const LABEL: Label<'static> = Label {
    array: "waveform",
    key: "0123.16000.30000.wav.npz",
    pipeline: "decoder=1 resampler=1",
    dtype: Dtype::Float32,
};

/// Samples, the edits of the file that they make (a place and a byte), and how far it is cut.
type Input = (Vec<f32>, Vec<(u16, u8)>, Option<u16>);

fuzz_target!(|input: Input| {
    let (samples, edits, cut) = input;
    let right = entry(&[samples.len()], &samples);
    let mut bytes = right.clone();
    for (place, byte) in edits {
        let place = usize::from(place) % bytes.len();
        bytes[place] = byte;
    }
    if let Some(cut) = cut {
        bytes.truncate(usize::from(cut));
    }
    let file = written(&bytes);
    let array = read(&file, &LABEL);
    if let Ok(view) = view(&file, &LABEL) {
        assert!(array.is_ok(), "mapped, but not read");
        assert_eq!(view.shape(), [samples.len()]);
    }
    match array {
        // Whatever is read is what is written: no file but the right one is taken for it.
        Ok(Array {
            shape,
            samples: got,
        }) => assert!(entry(&shape, &got) == bytes),
        Err(error) => assert!(bytes != right, "{error}"),
    }
});

fn entry(shape: &[usize], samples: &[f32]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let made = Entry::new(&LABEL, shape, samples).and_then(|entry| entry.write_to(&mut bytes));
    assert!(made.is_ok(), "{made:?}");
    bytes
}

fn written(bytes: &[u8]) -> File {
    let file = tempfile::tempfile().and_then(|mut file| {
        file.write_all(bytes)?;
        file.rewind()?;
        Ok(file)
    });
    file.unwrap_or_else(|error| panic!("no temporary file: {error}"))
}
