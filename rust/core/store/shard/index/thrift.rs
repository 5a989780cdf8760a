//! Thrift's compact protocol, which headers of pages and the footer of a Parquet file are written in.
//!
//! As values in a tree: an index has few of them. "Thrift compact protocol encoding", of Apache Thrift's
//! specifications.

/// Structs and lists within each other; a footer has six.
const MAX_DEPTH: usize = 16;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Bool(bool),
    I32(i32),
    I64(i64),
    Binary(Vec<u8>),
    /// All of one kind.
    List(Vec<Value>),
    /// Fields by their number, in rising order.
    Struct(Vec<(i16, Value)>),
}

const TRUE: u8 = 1;
const FALSE: u8 = 2;
const I32: u8 = 5;
const I64: u8 = 6;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const STRUCT: u8 = 12;

impl Value {
    pub(super) fn text(text: &str) -> Self {
        Self::Binary(text.as_bytes().to_vec())
    }

    /// The field of a struct.
    pub(super) fn field(&self, number: i16) -> Option<&Self> {
        let Self::Struct(fields) = self else {
            return None;
        };
        let found = fields.iter().find(|(other, _)| *other == number);
        found.map(|(_, value)| value)
    }

    /// The field, where it is a list.
    pub(super) fn list(&self, number: i16) -> Option<&[Self]> {
        match self.field(number)? {
            Self::List(values) => Some(values),
            _ => None,
        }
    }

    /// The field, where it is a number that is not negative.
    pub(super) fn number(&self, number: i16) -> Option<u64> {
        match self.field(number)? {
            Self::I32(value) => u64::try_from(*value).ok(),
            Self::I64(value) => u64::try_from(*value).ok(),
            _ => None,
        }
    }

    /// The field, where it is text.
    pub(super) fn str(&self, number: i16) -> Option<&str> {
        match self.field(number)? {
            Self::Binary(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Bool(true) => TRUE,
            Self::Bool(false) => FALSE,
            Self::I32(_) => I32,
            Self::I64(_) => I64,
            Self::Binary(_) => BINARY,
            Self::List(_) => LIST,
            Self::Struct(_) => STRUCT,
        }
    }

    /// Appends the value to `out`. Bools stand in structs only.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Bool(_) => {}
            Self::I32(value) => write_varint(zigzag((*value).into()), out),
            Self::I64(value) => write_varint(zigzag(*value), out),
            Self::Binary(bytes) => {
                write_varint(bytes.len() as u64, out);
                out.extend_from_slice(bytes);
            }
            Self::List(values) => write_list(values, out),
            Self::Struct(fields) => write_struct(fields, out),
        }
    }
}

fn write_list(values: &[Value], out: &mut Vec<u8>) {
    let kind = values.first().map_or(STRUCT, Value::kind);
    if values.len() < 15 {
        out.push((values.len() as u8) << 4 | kind);
    } else {
        out.push(0xF0 | kind);
        write_varint(values.len() as u64, out);
    }
    for value in values {
        value.write(out);
    }
}

fn write_struct(fields: &[(i16, Value)], out: &mut Vec<u8>) {
    let mut last = 0;
    for (number, value) in fields {
        // The fields of Parquet are less than 15 apart.
        out.push(((number - last) as u8) << 4 | value.kind());
        value.write(out);
        last = *number;
    }
    out.push(0);
}

fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

pub(super) fn write_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Reads values from bytes that may be anything: each costs a byte at least, and memory as much as a
/// [`Value`] for it.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    /// A struct, and what follows it stays.
    pub(super) fn read_struct(&mut self) -> Option<Value> {
        self.value(STRUCT, 0)
    }

    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7F);
            // The tenth byte has room for one bit.
            if shift == 63 && byte > 1 {
                return None;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn integer(&mut self) -> Option<i64> {
        let coded = self.varint()?;
        Some((coded >> 1) as i64 ^ -((coded & 1) as i64))
    }

    fn value(&mut self, kind: u8, depth: usize) -> Option<Value> {
        if depth > MAX_DEPTH {
            return None;
        }
        Some(match kind {
            TRUE | FALSE => Value::Bool(kind == TRUE),
            I32 => Value::I32(self.integer()?.try_into().ok()?),
            I64 => Value::I64(self.integer()?),
            BINARY => {
                let length = usize::try_from(self.varint()?).ok()?;
                Value::Binary(self.take(length)?.to_vec())
            }
            LIST => self.list(depth)?,
            STRUCT => self.fields(depth)?,
            _ => return None,
        })
    }

    fn list(&mut self, depth: usize) -> Option<Value> {
        let head = self.byte()?;
        let count = match head >> 4 {
            15 => self.varint()?,
            count => count.into(),
        };
        // Of bools, which no index has, elements would cost nothing here.
        let kind = Some(head & 15).filter(|kind| ![TRUE, FALSE].contains(kind))?;
        let mut values = Vec::new();
        for _ in 0..count {
            values.push(self.value(kind, depth + 1)?);
        }
        Some(Value::List(values))
    }

    fn fields(&mut self, depth: usize) -> Option<Value> {
        let (mut fields, mut last) = (Vec::new(), 0i16);
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Some(Value::Struct(fields));
            }
            // Numbers that are further apart have no place in Parquet.
            last = last.checked_add((head >> 4).into())?;
            if head >> 4 == 0 {
                return None;
            }
            fields.push((last, self.value(head & 15, depth + 1)?));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<i32>().prop_map(Value::I32),
            any::<i64>().prop_map(Value::I64),
            prop::collection::vec(any::<u8>(), 0..20).prop_map(Value::Binary),
        ];
        leaf.prop_recursive(4, 60, 20, |inner| {
            let fields = prop::collection::btree_map(
                1i16..15,
                prop_oneof![inner.clone(), any::<bool>().prop_map(Value::Bool)],
                0..8,
            );
            prop_oneof![
                (inner, 1usize..40).prop_map(|(value, count)| Value::List(vec![value; count])),
                fields.prop_map(|fields| Value::Struct(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value in values(), behind in any::<[u8; 3]>()) {
            let mut bytes = Vec::new();
            Value::Struct(vec![(3, value.clone())]).write(&mut bytes);
            bytes.extend(behind);
            let mut reader = Reader(&bytes);
            let read = reader.read_struct();
            prop_assert_eq!(read.as_ref().and_then(|read| read.field(3)), Some(&value));
            prop_assert_eq!(reader.0, behind);
        }

        #[test]
        fn anything_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Reader(&bytes).read_struct();
        }
    }
}
