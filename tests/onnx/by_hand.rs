//! ONNX files that are written field by field.

pub fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

pub fn int(number: u64, value: i64) -> Vec<u8> {
    [varint(number << 3), varint(value.cast_unsigned())].concat()
}

pub fn bytes(number: u64, value: &[u8]) -> Vec<u8> {
    [varint(number << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
}

/// A node with one output, whose name is its own.
pub fn node(op: &str, inputs: &[&str], output: &str, attributes: &[u8]) -> Vec<u8> {
    let inputs: Vec<u8> = inputs.iter().flat_map(|input| bytes(1, input.as_bytes())).collect();
    let name = bytes(3, output.as_bytes());
    bytes(
        1,
        &[&inputs[..], &bytes(2, output.as_bytes()), &name, &bytes(4, op.as_bytes()), attributes].concat(),
    )
}

/// The attribute `name` of a node, an integer.
pub fn integer(name: &str, value: i64) -> Vec<u8> {
    bytes(5, &[bytes(1, name.as_bytes()), int(3, value), int(20, 2)].concat())
}

/// The attribute `name` of a node, a list of integers.
pub fn list(name: &str, values: &[usize]) -> Vec<u8> {
    let values: Vec<u8> = values.iter().flat_map(|&value| int(8, value as i64)).collect();
    bytes(5, &[&bytes(1, name.as_bytes())[..], &values, &int(20, 7)].concat())
}

/// A constant of f32.
pub fn constant(name: &str, dims: &[i64], data: &[u8]) -> Vec<u8> {
    of_type(1, name, dims, data)
}

/// A constant whose elements have the type `element`.
pub fn of_type(element: i64, name: &str, dims: &[i64], data: &[u8]) -> Vec<u8> {
    let dims: Vec<u8> = dims.iter().flat_map(|&dim| int(1, dim)).collect();
    bytes(5, &[&dims[..], &int(2, element), &bytes(8, name.as_bytes()), data].concat())
}

/// A constant with these numbers.
pub fn floats(name: &str, dims: &[usize], values: &[f32]) -> Vec<u8> {
    let dims: Vec<i64> = dims.iter().map(|&dim| dim as i64).collect();
    let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    constant(name, &dims, &bytes(9, &raw))
}

/// A constant list of integers.
pub fn integers(name: &str, values: &[i64]) -> Vec<u8> {
    let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    of_type(7, name, &[values.len() as i64], &bytes(9, &raw))
}

fn described(number: u64, name: &str, dims: &[i64]) -> Vec<u8> {
    let dims: Vec<u8> = dims.iter().flat_map(|&dim| bytes(1, &int(1, dim))).collect();
    let kind = bytes(1, &[int(1, 1), bytes(2, &dims)].concat());
    bytes(number, &[bytes(1, name.as_bytes()), bytes(2, &kind)].concat())
}

/// A file with this graph, whose input is `x` `[1, 2, 4, 4]` and whose output is `y`.
pub fn model(graph: &[Vec<u8>]) -> Vec<u8> {
    of_images(graph, [1, 2, 4, 4])
}

/// A file with this graph, whose input is `x` `[N, C, H, W]` and whose output is `y`.
pub fn of_images(graph: &[Vec<u8>], x: [usize; 4]) -> Vec<u8> {
    of_version(13, graph, x)
}

/// [`of_images`] with the operators of version `opset`.
pub fn of_version(opset: i64, graph: &[Vec<u8>], x: [usize; 4]) -> Vec<u8> {
    let x = x.map(|dim| dim as i64);
    let name = bytes(2, b"by hand");
    let graph = [&name, &graph.concat()[..], &described(11, "x", &x), &described(12, "y", &[1, 2, 4, 4])];
    [int(1, 10), bytes(7, &graph.concat()), bytes(8, &int(2, opset))].concat()
}
