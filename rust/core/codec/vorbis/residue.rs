//! The residue: the fine structure of the spectra, in vectors. Section 8.

use super::Fault;
use super::bits::Bits;
use super::budget::Budget;
use super::codebook::Codebook;

/// Books that are added up at most.
const PASSES: usize = 8;

/// How the values of a partition are spread: sections 8.6.3 to 8.6.5.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    /// Type 0: a vector's values lie apart, as many vectors as there are in a partition.
    Apart,
    /// Type 1: vector after vector.
    Together,
    /// Type 2: as type 1, with the channels interleaved to one.
    Interleaved,
}

#[derive(Debug)]
pub(super) struct Residue {
    pub(super) kind: Kind,
    begin: usize,
    end: usize,
    partition: usize,
    class_book: usize,
    /// By the entry of the class book: the classes of as many partitions as it has dimensions.
    classes: Vec<u8>,
    /// By class and pass.
    books: Vec<[Option<u8>; PASSES]>,
    /// Passes that any class has a book in, up to the last.
    passes: usize,
}

/// Room for the classes of a packet's partitions.
pub(super) type Classes = Vec<u8>;

impl Residue {
    pub(super) fn parse(
        bits: &mut Bits<'_>,
        books: &[Codebook],
        budget: &mut Budget,
    ) -> Result<Self, Fault> {
        let kind = match bits.need(16)? {
            0 => Kind::Apart,
            1 => Kind::Together,
            2 => Kind::Interleaved,
            _ => return Err(Fault("a residue has an unknown type")),
        };
        let (begin, end) = (bits.need(24)? as usize, bits.need(24)? as usize);
        let partition = bits.need(24)? as usize + 1;
        let count = bits.need(6)? as usize + 1;
        let class_book = bits.need(8)? as usize;
        let cascades = (0..count).map(|_| cascade(bits));
        let cascades: Vec<u32> = cascades.collect::<Result<_, Fault>>()?;
        let in_class = cascades
            .iter()
            .map(|cascade| in_passes(*cascade, bits, books));
        let in_class: Vec<_> = in_class.collect::<Result<_, Fault>>()?;
        let last = |cascade: &u32| (u32::BITS - cascade.leading_zeros()) as usize;
        Ok(Self {
            kind,
            begin,
            end,
            partition,
            class_book,
            classes: classes(books.get(class_book), count, budget)?,
            books: in_class,
            passes: cascades.iter().map(last).max().unwrap_or(0),
        })
    }

    /// Adds what a packet holds to the spectra of the channels `members`; stops where it ends.
    pub(super) fn read(
        &self,
        bits: &mut Bits<'_>,
        books: &[Codebook],
        spectra: &mut [&mut [f32]],
        classes: &mut Classes,
    ) -> Option<()> {
        let length = spectra.first()?.len();
        let (begin, end) = (self.begin.min(length), self.end.min(length));
        let count = end.saturating_sub(begin) / self.partition;
        let book = books.get(self.class_book)?;
        let at_once = book.dimensions;
        // The last word may hold classes for more partitions than there are.
        let stride = count.next_multiple_of(at_once);
        classes.clear();
        classes.resize(spectra.len() * stride, 0);
        for pass in 0..self.passes {
            for first in (0..count).step_by(at_once) {
                if pass == 0 {
                    for row in classes.chunks_exact_mut(stride) {
                        let entry = book.entry(bits)?;
                        let of_word = self.classes.get(entry * at_once..(entry + 1) * at_once)?;
                        row[first..first + at_once].copy_from_slice(of_word);
                    }
                }
                for part in first..count.min(first + at_once) {
                    for (row, spectrum) in classes.chunks_exact(stride).zip(&mut *spectra) {
                        let Some(book) = self.books[usize::from(row[part])][pass] else {
                            continue;
                        };
                        let place = begin + part * self.partition;
                        let target = &mut spectrum[place..place + self.partition];
                        self.add(bits, &books[usize::from(book)], target)?;
                    }
                }
            }
        }
        Some(())
    }

    #[inline]
    fn add(&self, bits: &mut Bits<'_>, book: &Codebook, target: &mut [f32]) -> Option<()> {
        if self.kind != Kind::Apart {
            return book.add(bits, target);
        }
        let step = target.len() / book.dimensions;
        for first in 0..step {
            let vector = book.vector(bits)?;
            for (to, value) in target[first..].iter_mut().step_by(step).zip(vector) {
                *to += value;
            }
        }
        Some(())
    }
}

/// The passes in which a class has a book.
fn cascade(bits: &mut Bits<'_>) -> Result<u32, Fault> {
    let low = bits.need(3)?;
    let high = if bits.flag()? { bits.need(5)? } else { 0 };
    Ok(high << 3 | low)
}

/// The books of a class.
fn in_passes(
    cascade: u32,
    bits: &mut Bits<'_>,
    books: &[Codebook],
) -> Result<[Option<u8>; PASSES], Fault> {
    let mut of_class = [None; PASSES];
    for (pass, book) in of_class.iter_mut().enumerate() {
        if cascade >> pass & 1 == 1 {
            let number = bits.need(8)?;
            let chosen = books.get(number as usize);
            if !chosen.is_some_and(Codebook::has_vectors) {
                return Err(Fault("a residue has a code book without vectors"));
            }
            *book = Some(number as u8);
        }
    }
    Ok(of_class)
}

/// The classes that the entries of the class book stand for, the last one in the lowest digit.
fn classes(book: Option<&Codebook>, base: usize, budget: &mut Budget) -> Result<Vec<u8>, Fault> {
    const WRONG: Fault = Fault("a residue has an invalid code book of classes");
    let book = book.filter(|book| book.dimensions > 0).ok_or(WRONG)?;
    let words = base.checked_pow(book.dimensions as u32);
    let words = words
        .filter(|words| *words <= book.entries as usize)
        .ok_or(WRONG)?;
    budget.take(words, book.dimensions)?;
    let mut classes = vec![0; words * book.dimensions];
    for (word, of_word) in classes.chunks_exact_mut(book.dimensions).enumerate() {
        let mut rest = word;
        for class in of_word.iter_mut().rev() {
            *class = (rest % base) as u8;
            rest /= base;
        }
    }
    Ok(classes)
}
