//! Round-robin arbitration between the five input ports, and masks over (output, input) pairs.
//!
//! Requests of a router are one `u64`: output `o` has byte `o`, input `p` has bit `p` of it.

use super::router::PORTS;

/// `PICK[pointer][requests]`: the first requesting input at or after `pointer`, cyclically.
pub(crate) const PICK: [[u8; 32]; PORTS] = {
    let mut table = [[0; 32]; PORTS];
    let mut pointer = 0;
    while pointer < PORTS {
        let mut requests = 1;
        while requests < 32 {
            let mut input = pointer;
            while requests >> input & 1 == 0 {
                input = (input + 1) % PORTS;
            }
            table[pointer][requests] = input as u8;
            requests += 1;
        }
        pointer += 1;
    }
    table
};

/// `AFTER[input]`: the input that comes next in the round.
pub(crate) const AFTER: [u8; PORTS] = [1, 2, 3, 4, 0];

/// `LANES[outputs]`: all the request bits of a set of outputs.
pub(crate) const LANES: [u64; 32] = {
    let mut table = [0; 32];
    let mut outputs = 0;
    while outputs < 32 {
        let mut output = 0;
        while output < PORTS {
            if outputs >> output & 1 == 1 {
                table[outputs] |= 0x1f << (8 * output);
            }
            output += 1;
        }
        outputs += 1;
    }
    table
};

/// The request bit of a pair.
#[inline]
pub(crate) const fn request(output: usize, input: usize) -> u64 {
    1 << (8 * output + input)
}

/// The bits that input `input` may have set, in all outputs: it has at most one, for the packet at its head.
#[inline]
pub(crate) const fn of_input(input: usize) -> u64 {
    0x01_0101_0101 << input
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picks_go_round() {
        assert_eq!([PICK[0][0b10101], PICK[1][0b10101], PICK[3][0b10101], PICK[3][0b00101]], [0, 2, 4, 0]);
        assert_eq!(LANES[0b10001], 0x1f_0000_001f);
        assert_eq!(request(4, 0), 0x01_0000_0000);
        assert_eq!(of_input(3) & LANES[0b00010], request(1, 3));
    }
}
