//! A tensor as a view of a storage.

use safetensors::Dtype;

/// Most axes of a tensor: a pickle that claims more could copy a long list of sizes for each tensor.
pub(super) const MOST_AXES: usize = 8;

/// Element `[i, j, …]` is element `offset + i·strides[0] + j·strides[1] + …` of the storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    /// The index of the storage.
    pub storage: usize,
    pub offset: u64,
    pub shape: Vec<u64>,
    /// In elements.
    pub strides: Vec<u64>,
}

impl View {
    /// Number of elements; `None` if it overflows.
    pub fn len(&self) -> Option<u64> {
        self.shape.iter().try_fold(1u64, |product, &n| product.checked_mul(n))
    }

    /// One more than the last element that it reads; 0 if it reads none. `None` if that overflows.
    pub fn end(&self) -> Option<u64> {
        if self.shape.contains(&0) {
            return Some(0);
        }
        let steps = self.shape.iter().zip(&self.strides);
        let last = steps.map(|(&n, &stride)| (n - 1).checked_mul(stride));
        last.into_iter().try_fold(self.offset, |sum, step| sum.checked_add(step?))?.checked_add(1)
    }

    /// The bytes of its elements in order, from the bytes of its storage, which must hold [`View::end`] elements of
    /// `width` bytes.
    pub fn gather(&self, storage: &[u8], width: usize) -> Vec<u8> {
        let shape: Vec<usize> = self.shape.iter().map(|&n| n as usize).collect();
        let strides: Vec<usize> = self.strides.iter().map(|&stride| stride as usize).collect();
        let len: usize = shape.iter().product();
        let start = self.offset as usize;
        if len == 0 {
            return Vec::new();
        }
        if self.is_contiguous() {
            return storage[start * width..][..len * width].to_vec();
        }
        let mut bytes = Vec::with_capacity(len * width);
        let mut index = vec![0; shape.len()];
        for _ in 0..len {
            let element: usize =
                start + index.iter().zip(&strides).map(|(i, stride)| i * stride).sum::<usize>();
            bytes.extend_from_slice(&storage[element * width..][..width]);
            for axis in (0..shape.len()).rev() {
                index[axis] += 1;
                if index[axis] < shape[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
        bytes
    }

    /// Whether the elements lie behind one another in order.
    fn is_contiguous(&self) -> bool {
        let mut expected = 1;
        self.shape.iter().zip(&self.strides).rev().all(|(&n, &stride)| {
            let fits = n == 1 || stride == expected;
            expected *= n;
            fits
        })
    }
}

/// Bytes of an element.
pub(super) fn width(dtype: Dtype) -> usize {
    dtype.bitsize() / 8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(offset: u64, shape: &[u64], strides: &[u64]) -> View {
        View { storage: 0, offset, shape: shape.to_vec(), strides: strides.to_vec() }
    }

    #[test]
    fn strides_choose_elements() {
        let storage: Vec<u8> = (0..24).flat_map(|i: u16| i.to_le_bytes()).collect();
        let gathered = |view: View| -> Vec<u16> {
            view.gather(&storage, 2).as_chunks().0.iter().map(|&b| u16::from_le_bytes(b)).collect()
        };
        assert_eq!(gathered(view(3, &[2, 2], &[2, 1])), [3, 4, 5, 6]);
        assert_eq!(gathered(view(0, &[2, 3], &[1, 2])), [0, 2, 4, 1, 3, 5], "transposed");
        assert_eq!(gathered(view(5, &[3], &[0])), [5, 5, 5], "expanded");
        assert_eq!(gathered(view(20, &[1, 4, 1], &[99, 1, 99])), [20, 21, 22, 23]);
        assert_eq!(gathered(view(7, &[], &[])), [7], "a scalar");
        assert_eq!(gathered(view(99, &[2, 0], &[1, 1])), [] as [u16; 0]);
    }

    #[test]
    fn ends_are_exact_or_overflow() {
        assert_eq!(view(3, &[2, 3], &[10, 2]).end(), Some(18));
        assert_eq!(view(3, &[2, 0], &[10, 2]).end(), Some(0));
        assert_eq!(view(u64::MAX, &[], &[]).end(), None);
        assert_eq!(view(1, &[u64::MAX, 2], &[u64::MAX, 1]).end(), None);
        assert_eq!(view(1, &[u64::MAX, 2], &[0, 0]).len(), None);
    }
}
