//! Placement of labels: each beside its point, over no other label and no point.

/// A rectangle: left, top, width, height.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Box2 {
    /// Left edge.
    pub x: f64,
    /// Upper edge.
    pub y: f64,
    /// Width.
    pub w: f64,
    /// Height.
    pub h: f64,
}

impl Box2 {
    /// Whether the two share an area.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.x < other.x + other.w
            && other.x < self.x + self.w
            && self.y < other.y + other.h
            && other.y < self.y + self.h
    }

    fn within(&self, frame: &Self) -> bool {
        self.x >= frame.x
            && self.y >= frame.y
            && self.x + self.w <= frame.x + frame.w
            && self.y + self.h <= frame.y + frame.h
    }
}

/// Directions in which a label is tried: right, left, above, below, and between.
const DIRECTIONS: [(f64, f64); 8] =
    [(1.0, 0.0), (-1.0, 0.0), (0.0, -1.0), (0.0, 1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, -1.0), (-1.0, 1.0)];

/// Places a label of the size `(w, h)` beside each of `points`, which are circles `(x, y, radius)`, inside `frame`. Labels
/// overlap neither each other nor a point nor one of `others`: one that has no room beside its point moves away from it,
/// and if there is no room at all, down a column at the left edge of the frame.
pub fn place(points: &[(f64, f64, f64)], sizes: &[(f64, f64)], others: &[Box2], frame: Box2) -> Vec<Box2> {
    let circle = |&(x, y, r): &(f64, f64, f64)| Box2 { x: x - r, y: y - r, w: 2.0 * r, h: 2.0 * r };
    let mut taken: Vec<Box2> = points.iter().map(circle).chain(others.iter().copied()).collect();
    let mut placed = Vec::new();
    for (&(x, y, r), &(w, h)) in points.iter().zip(sizes) {
        let beside = |distance: f64| {
            DIRECTIONS.into_iter().map(move |(dx, dy)| {
                let (cx, cy) = (x + dx * (r + distance + w / 2.0), y + dy * (r + distance + h / 2.0));
                Box2 { x: cx - w / 2.0, y: cy - h / 2.0, w, h }
            })
        };
        let near = (0..24).flat_map(|step| beside(3.0 + 7.0 * f64::from(step)));
        let rows = (frame.h / h.max(1.0)) as usize;
        let column = (0..rows).map(|row| Box2 { x: frame.x, y: frame.y + row as f64 * h, w, h });
        let free = |label: &Box2| label.within(&frame) && taken.iter().all(|other| !label.overlaps(other));
        let label = near.chain(column).find(free).unwrap_or(Box2 { x: frame.x, y: frame.y, w, h });
        taken.push(label);
        placed.push(label);
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FRAME: Box2 = Box2 { x: 50.0, y: 10.0, w: 380.0, h: 260.0 };

    proptest! {
        #[test]
        fn labels_overlap_nothing(
            points in prop::collection::vec((60.0f64..420.0, 20.0f64..260.0, 3.0f64..9.0), 1..12),
            width in 20.0f64..90.0,
        ) {
            let sizes = vec![(width, 13.0); points.len()];
            let labels = place(&points, &sizes, &[], FRAME);
            for (i, label) in labels.iter().enumerate() {
                prop_assert!(label.within(&FRAME), "{:?}", label);
                prop_assert!(labels[..i].iter().all(|other| !label.overlaps(other)), "{:?}", labels);
            }
        }
    }

    #[test]
    fn equal_points_have_labels_apart() {
        let bar = Box2 { x: 200.0, y: 139.0, w: 80.0, h: 2.0 };
        let labels = place(&[(240.0, 140.0, 6.0); 9], &[(60.0, 13.0); 9], &[bar], FRAME);
        assert!(labels.iter().all(|label| !label.overlaps(&bar)), "{labels:?}");
        for (i, label) in labels.iter().enumerate() {
            assert!(labels[..i].iter().all(|other| !label.overlaps(other)), "{labels:?}");
        }
    }
}
