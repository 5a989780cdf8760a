//! Floors of type 1: lines between points. Section 7.

use std::sync::LazyLock;

use super::Fault;
use super::bits::{Bits, bit_length};
use super::codebook::Codebook;

/// Points of a curve at most: section 7.2.2.
const MOST_POINTS: usize = 65;
/// More than any height can be in a sound stream.
const HIGHEST: i32 = 0x7FFF;
/// Lines up to so long are drawn with numbers of 32 bits.
const LONG_LINE: u32 = 4096;

/// The least factor of all.
const LOWEST: f64 = 1.064_986_3e-7;

/// Factors by height, in even steps of decibels up to 1: section 10.1.
static LEVELS: LazyLock<Levels> = LazyLock::new(|| {
    let depth = |height: usize| (255 - height) as f64 / 255.0;
    std::array::from_fn(|height| LOWEST.powf(depth(height)) as f32)
});

pub(super) type Levels = [f32; 256];

/// Factors by height, all times `gain`.
pub(super) fn levels(gain: f32) -> Levels {
    LEVELS.map(|level| level * gain)
}

#[derive(Debug)]
pub(super) struct Floor1 {
    /// The class of each partition.
    partitions: Vec<usize>,
    classes: Vec<Class>,
    multiplier: i32,
    points: Vec<Point>,
    /// The points from left to right.
    order: Vec<usize>,
}

/// How the points of a partition are coded.
#[derive(Debug)]
struct Class {
    dimensions: usize,
    /// Bits that choose the book of one point.
    choice_bits: u32,
    master: Option<usize>,
    books: Vec<Option<usize>>,
}

#[derive(Debug)]
struct Point {
    x: i32,
    /// Of the points before it in the list, the nearest ones to the left and to the right.
    left: usize,
    right: usize,
}

/// Heights of the points; those below 0 lie on the line that others draw.
#[derive(Debug)]
pub(super) struct Heights([i32; MOST_POINTS]);

impl Default for Heights {
    fn default() -> Self {
        Self([0; MOST_POINTS])
    }
}

impl Floor1 {
    pub(super) fn parse(bits: &mut Bits<'_>, books: &[Codebook]) -> Result<Self, Fault> {
        let partitions = bits.need(5)?;
        let partitions = (0..partitions).map(|_| Ok(bits.need(4)? as usize));
        let partitions: Vec<usize> = partitions.collect::<Result<_, Fault>>()?;
        let count = partitions.iter().max().map_or(0, |highest| highest + 1);
        let classes = (0..count).map(|_| Class::parse(bits, books));
        let classes: Vec<Class> = classes.collect::<Result<_, Fault>>()?;
        let multiplier = bits.need(2)? as i32 + 1;
        let width = bits.need(4)?;
        let mut places = vec![0, 1 << width];
        for class in partitions.iter().filter_map(|class| classes.get(*class)) {
            for _ in 0..class.dimensions {
                places.push(bits.need(width)? as i32);
            }
        }
        let (points, order) = points(&places)?;
        Ok(Self {
            partitions,
            classes,
            multiplier,
            points,
            order,
        })
    }

    /// Reads a curve: section 7.2.3.
    pub(super) fn read(
        &self,
        bits: &mut Bits<'_>,
        books: &[Codebook],
        Heights(heights): &mut Heights,
    ) -> Option<()> {
        if bits.read(1)? == 0 {
            return None;
        }
        let width = bit_length(self.range() as u32 - 1);
        heights[0] = bits.read(width)? as i32;
        heights[1] = bits.read(width)? as i32;
        let mut at = 2;
        for class in &self.partitions {
            let class = self.classes.get(*class)?;
            let to = heights.get_mut(at..at + class.dimensions)?;
            class.read(bits, books, to)?;
            at += class.dimensions;
        }
        self.predict(heights);
        Some(())
    }

    /// Heights there are, before the multiplier.
    fn range(&self) -> i32 {
        match self.multiplier {
            1 => 256,
            2 => 128,
            3 => 86,
            _ => 64,
        }
    }

    /// From differences to heights: the first part of section 7.2.4.
    fn predict(&self, heights: &mut [i32; MOST_POINTS]) {
        let mut is_drawn = [false; MOST_POINTS];
        (is_drawn[0], is_drawn[1]) = (true, true);
        for (at, point) in self.points.iter().enumerate().skip(2) {
            let (left, right) = (&self.points[point.left], &self.points[point.right]);
            let (from, to) = (heights[point.left], heights[point.right]);
            let predicted = between(point.x, [left.x, from], [right.x, to]);
            let coded = heights[at];
            if coded == 0 {
                heights[at] = predicted;
                continue;
            }
            for place in [at, point.left, point.right] {
                is_drawn[place] = true;
            }
            heights[at] = self.unfold(coded, predicted).clamp(0, HIGHEST);
        }
        for (height, _) in heights.iter_mut().zip(is_drawn).filter(|(_, drawn)| !drawn) {
            *height = -1;
        }
    }

    /// Differences are coded so that the heights on both sides of a prediction take turns, for as long
    /// as there is room on both.
    fn unfold(&self, coded: i32, predicted: i32) -> i32 {
        let (above, below) = (self.range() - predicted, predicted);
        if coded >= 2 * above.min(below) {
            return match above > below {
                true => coded - below + predicted,
                false => predicted - coded + above - 1,
            };
        }
        match coded % 2 {
            1 => predicted - (coded + 1) / 2,
            _ => predicted + coded / 2,
        }
    }

    /// Draws the curve: the second part of section 7.2.4.
    pub(super) fn render(&self, Heights(heights): &Heights, levels: &Levels, factors: &mut [f32]) {
        let height = |at: usize| (heights[at] * self.multiplier).clamp(0, 255);
        let (mut x, mut y) = (0, height(0));
        let drawn = self.order.iter().skip(1).filter(|at| heights[**at] >= 0);
        for at in drawn {
            let (to_x, to_y) = (self.points[*at].x as usize, height(*at));
            let Some(rest) = factors.get_mut(x..) else {
                return;
            };
            draw_line(y, to_y, to_x - x, levels, rest);
            (x, y) = (to_x, to_y);
        }
        let rest = factors.get_mut(x..).unwrap_or_default();
        rest.fill(levels[y as usize & 255]);
    }
}

impl Class {
    fn parse(bits: &mut Bits<'_>, books: &[Codebook]) -> Result<Self, Fault> {
        let dimensions = bits.need(3)? as usize + 1;
        let choice_bits = bits.need(2)?;
        let master = match choice_bits {
            0 => None,
            _ => Some(bits.need(8)? as usize),
        };
        let chosen = (0..1 << choice_bits).map(|_| Ok((bits.need(8)? as usize).checked_sub(1)));
        let chosen: Vec<Option<usize>> = chosen.collect::<Result<_, Fault>>()?;
        let highest = chosen.iter().chain([&master]).flatten().max();
        if highest.is_some_and(|book| *book >= books.len()) {
            return Err(Fault("a floor has a missing code book"));
        }
        Ok(Self {
            dimensions,
            choice_bits,
            master,
            books: chosen,
        })
    }

    fn read(&self, bits: &mut Bits<'_>, books: &[Codebook], to: &mut [i32]) -> Option<()> {
        let mut choices = match self.master {
            Some(book) => books.get(book)?.entry(bits)?,
            None => 0,
        };
        for height in to {
            let choice = choices & ((1 << self.choice_bits) - 1);
            choices >>= self.choice_bits;
            *height = match self.books.get(choice)? {
                Some(book) => books.get(*book)?.entry(bits)? as i32,
                None => 0,
            };
        }
        Some(())
    }
}

/// The points with their neighbours, and their order from left to right.
fn points(places: &[i32]) -> Result<(Vec<Point>, Vec<usize>), Fault> {
    if places.len() > MOST_POINTS {
        return Err(Fault("a floor has too many points"));
    }
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by_key(|at| places[*at]);
    if order
        .windows(2)
        .any(|pair| places[pair[0]] == places[pair[1]])
    {
        return Err(Fault("a floor has two points in one place"));
    }
    let point = |(at, x): (usize, &i32)| {
        let before = || (0..at).filter(|_| at > 1);
        Point {
            x: *x,
            left: before()
                .filter(|n| places[*n] < *x)
                .max_by_key(|n| places[*n])
                .unwrap_or(0),
            right: before()
                .filter(|n| places[*n] > *x)
                .min_by_key(|n| places[*n])
                .unwrap_or(1),
        }
    };
    Ok((places.iter().enumerate().map(point).collect(), order))
}

/// The height at `x` of a line between two points: `render_point`, section 9.2.6.
fn between(x: i32, [from_x, from_y]: [i32; 2], [to_x, to_y]: [i32; 2]) -> i32 {
    let rise = (to_y - from_y) * (x - from_x);
    from_y + rise.checked_div(to_x - from_x).unwrap_or(0)
}

/// A line of so many steps from one height to another: `render_line`, section 9.2.7. Its heights are
/// those of the exact line, rounded towards the first one.
fn draw_line(from: i32, to: i32, steps: usize, levels: &Levels, factors: &mut [f32]) {
    let count = steps.min(factors.len());
    let (rise, steps) = (from.abs_diff(to), steps as u32);
    if rise == 0 {
        return factors[..count].fill(levels[from as usize & 255]);
    }
    if steps > LONG_LINE {
        for (n, factor) in (0..).zip(&mut factors[..count]) {
            let step = (rise * n / steps) as i32;
            let height = if to < from { from - step } else { from + step };
            *factor = levels[height as usize & 255];
        }
        return;
    }
    // Rounded up: no sum is off by as much as one part in `steps`, so that none is rounded amiss.
    let slope = (rise << 24).div_ceil(steps);
    let (slope, first) = match to < from {
        true => (slope.wrapping_neg(), ((from as u32) << 24) + 0xFF_FFFF),
        false => (slope, (from as u32) << 24),
    };
    let mut height = first;
    for factor in &mut factors[..count] {
        *factor = levels[(height >> 24) as usize];
        height = height.wrapping_add(slope);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As section 9.2.7 has it.
    fn specified_line(from: i32, to: i32, steps: i32) -> Vec<i32> {
        let base = (to - from) / steps;
        let up = if to < from { base - 1 } else { base + 1 };
        let rest = (to - from).abs() - base.abs() * steps;
        let (mut y, mut error) = (from, 0);
        let mut heights = vec![y];
        for _ in 1..steps {
            error += rest;
            if error >= steps {
                error -= steps;
                y += up;
            } else {
                y += base;
            }
            heights.push(y);
        }
        heights
    }

    proptest! {
        #[test]
        fn lines_are_those_of_the_specification(
            from in 0..256,
            to in 0..256,
            steps in prop_oneof![1..300, 3900..4200, 1..32_769],
        ) {
            let levels = std::array::from_fn(|height| height as f32);
            let mut line = vec![0.0; steps as usize];
            draw_line(from, to, steps as usize, &levels, &mut line);
            let line: Vec<i32> = line.into_iter().map(|height| height as i32).collect();
            prop_assert_eq!(line, specified_line(from, to, steps));
        }
    }

    /// From section 10.1: the first, some in the middle and the last.
    #[test]
    fn levels_are_those_of_the_specification() {
        for (height, level) in [
            (0, 1.0649863e-07),
            (1, 1.1341951e-07),
            (2, 1.2079015e-07),
            (75, 1.1970856e-05),
            (255, 1.0),
        ] {
            assert!((LEVELS[height] / level - 1.0).abs() < 2e-7, "{height}");
        }
    }
}
