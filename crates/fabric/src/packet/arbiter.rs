//! Round-robin arbitration between the five input ports.

use super::router::PORTS;

/// `PICK[pointer][requests]`: the first requesting input at or after `pointer`, cyclically. Requests are bits.
pub(crate) const PICK: [[u8; 32]; 8] = {
    let mut table = [[0; 32]; 8];
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
pub(crate) const AFTER: [u8; 8] = [1, 2, 3, 4, 0, 0, 0, 0];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picks_go_round() {
        assert_eq!([PICK[0][0b10101], PICK[1][0b10101], PICK[3][0b10101], PICK[3][0b00101]], [0, 2, 4, 0]);
        assert_eq!(PICK[AFTER[4] as usize][0b11111], 0);
    }
}
