//! The frame of a JPEG: its components and their grids of 8×8 blocks.

/// A frame, and which coefficients of it the scans so far have brought.
pub(super) struct Frame {
    pub progressive: bool,
    /// Bits of a sample.
    pub precision: u32,
    pub width: usize,
    pub height: usize,
    pub components: Vec<Component>,
}

/// One of the planes of colour.
pub(super) struct Component {
    pub id: u8,
    /// Number of its quantization table.
    pub steps: usize,
    /// Blocks of this component in a unit of an interleaved scan: across and down.
    pub sampling: [usize; 2],
    /// Whether a scan has brought its mean values.
    pub begun: bool,
    /// In progressive frames, for each block, bit `k` is set where coefficient `k` in zigzag order is not zero. Row-major,
    /// `row` blocks a row.
    pub nonzero: Vec<u64>,
    pub row: usize,
}

impl Frame {
    /// Reads the segment of a frame: precision, height, width, and for each component its name, sampling and table.
    pub fn new(progressive: bool, segment: &[u8]) -> Result<Self, String> {
        let damaged = || "the JPEG's frame is damaged".to_string();
        let (&[precision, h1, h0, w1, w0, count], components) =
            segment.split_first_chunk().ok_or_else(damaged)?;
        let (height, width) =
            (usize::from(u16::from_be_bytes([h1, h0])), usize::from(u16::from_be_bytes([w1, w0])));
        if !matches!(precision, 8 | 12)
            || width == 0
            || height == 0
            || count == 0
            || count > 4
            || components.len() != 3 * usize::from(count)
        {
            return Err(damaged());
        }
        let components = components.as_chunks::<3>().0.iter().map(|&[id, sampling, steps]| Component {
            id,
            steps: steps.into(),
            sampling: [usize::from(sampling >> 4), usize::from(sampling & 15)],
            begun: false,
            nonzero: Vec::new(),
            row: 0,
        });
        let mut frame = Self {
            progressive,
            precision: precision.into(),
            width,
            height,
            components: components.collect(),
        };
        if frame.components.iter().any(|c| c.sampling.iter().any(|s| !(1..=4).contains(s))) {
            return Err(damaged());
        }
        let [across, down] = frame.units();
        for component in &mut frame.components {
            component.row = across * component.sampling[0];
            if progressive {
                component.nonzero = vec![0; component.row * down * component.sampling[1]];
            }
        }
        Ok(frame)
    }

    /// Units of an interleaved scan, across and down.
    pub fn units(&self) -> [usize; 2] {
        let [h, v] = self.greatest_sampling();
        [self.width.div_ceil(8 * h), self.height.div_ceil(8 * v)]
    }

    /// Blocks of component `index` that hold pixels, across and down: the units of a scan of this component only.
    pub fn blocks(&self, index: usize) -> [usize; 2] {
        let ([h, v], [most_h, most_v]) = (self.components[index].sampling, self.greatest_sampling());
        [(self.width * h).div_ceil(8 * most_h), (self.height * v).div_ceil(8 * most_v)]
    }

    fn greatest_sampling(&self) -> [usize; 2] {
        [0, 1].map(|axis| self.components.iter().map(|c| c.sampling[axis]).max().unwrap_or(1))
    }

    /// An error where a component was never brought.
    pub fn complete(self) -> Result<(), String> {
        match self.components.iter().all(|c| c.begun) {
            true => Ok(()),
            false => Err("the JPEG data ends early: it lacks a component".into()),
        }
    }
}
