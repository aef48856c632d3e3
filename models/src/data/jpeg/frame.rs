//! The frame of a JPEG: its components and their grids of 8×8 blocks.

/// A frame, and the coefficients that the scans so far have coded.
pub(super) struct Frame {
    pub progressive: bool,
    /// Bits per sample.
    pub precision: u32,
    pub width: usize,
    pub height: usize,
    pub components: Vec<Component>,
}

/// A color plane.
pub(super) struct Component {
    pub id: u8,
    /// Index of the quantization table.
    pub steps: usize,
    /// Blocks of this component in a unit of an interleaved scan, across and down.
    pub sampling: [usize; 2],
    /// Whether a scan has coded the block means.
    pub begun: bool,
    /// In progressive frames, the nonzero coefficients of each block: bit `k` stands for coefficient `k` in zigzag
    /// order. Blocks are row-major, with `row` blocks per row.
    pub nonzero: Vec<u64>,
    pub row: usize,
}

impl Frame {
    /// Reads the segment of a frame: precision, height, width, and the identifier, sampling and table of each
    /// component.
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

    /// Number of units of an interleaved scan, across and down.
    pub fn units(&self) -> [usize; 2] {
        let [h, v] = self.greatest_sampling();
        [self.width.div_ceil(8 * h), self.height.div_ceil(8 * v)]
    }

    /// Number of blocks of component `index` with pixels, across and down: the units of a scan of only this component.
    pub fn blocks(&self, index: usize) -> [usize; 2] {
        let ([h, v], [most_h, most_v]) = (self.components[index].sampling, self.greatest_sampling());
        [(self.width * h).div_ceil(8 * most_h), (self.height * v).div_ceil(8 * most_v)]
    }

    fn greatest_sampling(&self) -> [usize; 2] {
        [0, 1].map(|axis| self.components.iter().map(|c| c.sampling[axis]).max().unwrap_or(1))
    }

    /// Checks that every component has been coded.
    pub fn complete(self) -> Result<(), String> {
        match self.components.iter().all(|c| c.begun) {
            true => Ok(()),
            false => Err("the JPEG data ends early: it lacks a component".into()),
        }
    }
}
