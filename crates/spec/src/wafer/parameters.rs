//! Every parameter of a wafer, declared once: name in the file, unit, range, meaning.

/// What a parameter is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Declaration {
    /// The parameter.
    pub key: Key,
    /// `group.name` in the wafer file and in `--set wafer.group.name=value`.
    pub path: &'static str,
    /// Unit of the value.
    pub unit: &'static str,
    /// Smallest value that the file may give.
    pub smallest: f64,
    /// Largest value that the file may give.
    pub largest: f64,
    /// Whether only whole numbers make sense.
    pub whole: bool,
    /// What it means.
    pub meaning: &'static str,
}

impl Declaration {
    /// Why a value is not allowed, or nothing.
    pub fn check(&self, value: f64) -> Result<(), String> {
        if !value.is_finite() || value < self.smallest || value > self.largest {
            return Err(format!("{value} is out of range"));
        }
        if self.whole && value.fract() != 0.0 {
            return Err(format!("{value} is not a whole number"));
        }
        Ok(())
    }

    /// Whether more of it takes less time: what is counted in a unit of time, and the clock. All else is time itself.
    pub fn is_faster_when_larger(&self) -> bool {
        !self.unit.starts_with("cycles") && ["/cycle", "/s", "GHz"].iter().any(|end| self.unit.ends_with(end))
    }

    /// What is allowed, for people.
    pub fn allowed(&self) -> String {
        let kind = if self.whole { "a whole number" } else { "a number" };
        format!("{kind} of {} from {} to {}", self.unit, self.smallest, self.largest)
    }
}

macro_rules! parameters {
    ($($key:ident $path:literal $unit:literal $kind:ident $smallest:literal ..= $largest:literal $meaning:literal;)*) => {
        /// A parameter of a wafer.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Key {
            $(#[doc = $meaning] $key,)*
        }

        /// All parameters, in the order of [`Key`].
        pub const DECLARATIONS: &[Declaration] = &[
            $(Declaration {
                key: Key::$key,
                path: $path,
                unit: $unit,
                smallest: $smallest as f64,
                largest: $largest as f64,
                whole: parameters!(@whole $kind),
                meaning: $meaning,
            },)*
        ];
    };
    (@whole whole) => { true };
    (@whole real) => { false };
}

parameters! {
    Columns "fabric.columns" "PEs" whole 1 ..= 4096 "Columns of the fabric.";
    Rows "fabric.rows" "PEs" whole 1 ..= 4096 "Rows of the fabric.";
    UsableColumns "fabric.usable_columns" "PEs" whole 1 ..= 4096 "Columns that a program may use.";
    UsableRows "fabric.usable_rows" "PEs" whole 1 ..= 4096 "Rows that a program may use.";
    Colors "fabric.colors" "colors" whole 1 ..= 1024 "Routable colors of a router.";
    InputQueue "fabric.input_queue" "words" whole 1 ..= 65536 "Depth of a color's input queue.";
    HopLatency "fabric.hop_latency" "cycles" real 0 ..= 10000 "Time of a wavelet from router to neighbouring router.";
    WaveletCost "fabric.wavelet_cost" "cycles" real 0.01 ..= 10000 "Time that one wavelet occupies a link.";
    RampOut "fabric.ramp_out" "cycles" real 0 ..= 10000 "From the send's dispatch in the core to the first wavelet on the link.";
    RampIn "fabric.ramp_in" "cycles" real 0 ..= 10000 "From a wavelet's landing to its use in the core.";
    Completion "fabric.completion" "cycles" real 0 ..= 10000 "From the last wavelet to the completion task.";
    CombineLatency "fabric.combine_latency" "cycles" real 0 ..= 10000 "Time that a streaming reduction adds to a wavelet of two 16-bit values in the core, beside both ramps; twice that for a 32-bit value.";
    RouteChange "fabric.route_change" "cycles" real 0 ..= 100000 "Rewriting routes at run time, once; 0 where all routes of the kernels fit in static colors.";
    MemoryBytes "pe.memory" "bytes" whole 1024 ..= 1073741824 "SRAM of one processing element.";
    FreeBytes "pe.free_memory" "bytes" whole 512 ..= 1073741824 "SRAM of one processing element that is free for data after code and runtime.";
    ReadBytes "pe.read_width" "bytes/cycle" real 0.1 ..= 65536 "Bytes that a processing element reads from its SRAM in a cycle, at best.";
    Lanes16 "pe.lanes_16" "lanes" whole 1 ..= 4096 "SIMD lanes of a 16-bit multiply-accumulate; the width of a wave.";
    Lanes32 "pe.lanes_32" "lanes" whole 1 ..= 4096 "Elements of a 32-bit multiply-accumulate that are padded together.";
    Peak16 "pe.peak_16" "elements/cycle" real 0.01 ..= 65536 "16-bit multiply-accumulates a cycle, at best.";
    Peak32 "pe.peak_32" "elements/cycle" real 0.01 ..= 65536 "fp32 multiply-accumulates a cycle, at best.";
    VectorSetup "vector.setup" "cycles" real 0 ..= 100000 "Set-up of one vector operation.";
    VectorLatency "vector.latency" "cycles" real 0 ..= 100000 "From the first element of a prepared vector operation to its completion, beside the elements themselves.";
    Copy16 "vector.copy_16" "elements/cycle" real 0.001 ..= 65536 "16-bit copy, memory to memory.";
    Copy32 "vector.copy_32" "elements/cycle" real 0.001 ..= 65536 "32-bit copy, memory to memory.";
    Fma16 "vector.fma_16" "elements/cycle" real 0.001 ..= 65536 "16-bit multiply-accumulate of a plain vector operation.";
    Fma32 "vector.fma_32" "elements/cycle" real 0.001 ..= 65536 "fp32 multiply-accumulate of a plain vector operation.";
    Add16 "vector.add_16" "elements/cycle" real 0.001 ..= 65536 "16-bit addition or multiplication of a plain vector operation.";
    Add32 "vector.add_32" "elements/cycle" real 0.001 ..= 65536 "32-bit addition or multiplication of a plain vector operation.";
    Convert "vector.convert" "elements/cycle" real 0.001 ..= 65536 "Conversion of a stored 8- or 4-bit element to 16 bit.";
    ConvertPeak "vector.convert_peak" "elements/cycle" real 0.001 ..= 65536 "The same, at best.";
    MapIssue "map.issue" "cycles" real 0 ..= 100000 "Shortest time between operations issued from a map over preloaded descriptors.";
    MapColumn "map.column" "cycles" real -100 ..= 100000 "Time of a mapped operation beside its waves (negative where waves overlap the issue).";
    MapWave16 "map.wave_16" "cycles" real 0.01 ..= 100000 "Time of one wave of `pe.lanes_16` 16-bit multiply-accumulates issued from a map.";
    MapWave32 "map.wave_32" "cycles" real 0.01 ..= 100000 "Time of `pe.lanes_32` fp32 multiply-accumulates issued from a map.";
    MapWaveMixed "map.wave_mixed" "cycles" real 0.01 ..= 100000 "Time of one wave of `pe.lanes_16` products of 16-bit values summed in fp32.";
    TileColumn "tile.column" "cycles" real 0 ..= 100000 "Set-up of one column of a local matrix-matrix product.";
    TileIssue "tile.issue" "cycles" real 0 ..= 100000 "Start of one multiply-accumulate vector inside a local matrix-matrix product.";
    TileWord "tile.word" "cycles" real 0.01 ..= 100000 "Time of each 64-bit word (four 16-bit elements) of such a vector.";
    ScalarReduce "scalar.reduce" "cycles/element" real 0 ..= 100000 "Reduction of a vector to a scalar.";
    ScalarDivide "scalar.divide" "cycles" real 0 ..= 100000 "Scalar division.";
    ScalarSquareRoot "scalar.square_root" "cycles" real 0 ..= 100000 "Scalar inverse square root.";
    Exponential "scalar.exponential" "cycles/element" real 0 ..= 100000 "Exponential, as a softmax needs it.";
    UnfinishedExponential "scalar.unfinished_exponential" "cycles/element" real 0 ..= 100000 "What the published layer has in place of it, (1 + x/256)^4: two squarings where eight are needed. Only measured layers ran it.";
    Silu "scalar.silu" "cycles/element" real 0 ..= 100000 "SiLU in the gated activation.";
    TaskActivation "software.task_activation" "cycles" real 0 ..= 100000 "Activating a task and starting its first operation.";
    RelayWord "software.relay_word" "cycles/word" real 0 ..= 100000 "A word received, combined and sent on by software.";
    LibraryCall "software.library_call" "cycles" real 0 ..= 100000 "One call of the vendor's collectives library.";
    LibraryReduce "software.library_reduce" "cycles" real 0 ..= 100000 "What a reduction of that library takes beside the call.";
    LinkLatency "link.latency" "us" real 0 ..= 1000000 "One way between neighbouring wafers.";
    LinkBandwidth "link.bandwidth" "GB/s" real 0.001 ..= 1000000 "Between neighbouring wafers.";
    ClockGigahertz "clock.frequency" "GHz" real 0.01 ..= 100 "Clock of the processing elements and the fabric; low and high span what is published.";
    SystemPrice "system.price" "USD" real 0 ..= 1000000000 "Price of a system: one wafer with its power supplies and cooling. `system.*` moves no time and no mapping: it is what `cost` and `size` count with.";
    SystemLife "system.life" "years" real 0.1 ..= 100 "Years over which the price is written off.";
    SystemOther "system.other" "USD/h" real 0 ..= 1000000 "What a system costs an hour beside its price and its electricity: space, staff, network, money.";
    SystemPower "system.power" "kW" real 0 ..= 10000 "Electric power of a system at load, as it is rated.";
    SystemFloor "system.floor" "kW" real 0 ..= 10000 "Electric power of a system that has nothing to do: leakage, clock, supplies, pumps.";
    SystemSupport "system.support" "kW" real 0 ..= 10000 "Electric power of the servers and switches that a system needs beside it.";
    SystemCooling "system.cooling" "kW/kW" real 1 ..= 10 "Power of the whole facility for each kW of its machines (PUE).";
    SystemFailures "system.time_between_failures" "h" real 1 ..= 100000000 "Mean time between failures of a system.";
    SystemRepair "system.repair" "h" real 0 ..= 100000 "Mean time from a failure of a system to its work again.";
    EnergyMac "system.mac_energy" "pJ" real 0 ..= 1000000 "A 16-bit multiply-accumulate into fp32, with its registers.";
    EnergyByte "system.byte_energy" "pJ/byte" real 0 ..= 1000000 "A byte read from SRAM, or written to it.";
    EnergyHop "system.hop_energy" "pJ" real 0 ..= 1000000 "A 32-bit wavelet from a router to its neighbour.";
    EnergyLink "system.link_energy" "pJ/byte" real 0 ..= 1000000 "A byte from a wafer to the next one.";
    FaultyPes "fabric.faulty_pes" "PEs" whole 0 ..= 8190 "Processing elements of the usable rectangle that do not work and have no spare. Each takes its row out of use, or its column where that leaves more (a guess: no two share one, and nothing is routed around). 0 where a file says nothing.";
}

/// How many parameters move times and may be varied: all but those of the table `system` and the faults, which come
/// last.
pub const OF_TIME: usize = Key::ClockGigahertz as usize + 1;

/// The parameters that move times, mappings and room.
pub const TIMED: &[Declaration] = DECLARATIONS.split_at(OF_TIME).0;

/// The parameters of the table `system`: what a machine costs and draws.
pub const SYSTEM: &[Declaration] = DECLARATIONS.split_at(OF_TIME).1.split_at(OF_SYSTEM).0;

/// How many there are in the table `system`.
const OF_SYSTEM: usize = Key::FaultyPes as usize - OF_TIME;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_stand_at_their_key() {
        for (index, declared) in DECLARATIONS.iter().enumerate() {
            assert_eq!(declared.key as usize, index, "{}", declared.path);
            assert!(declared.smallest < declared.largest && declared.path.contains('.'));
        }
    }

    #[test]
    fn what_moves_no_time_comes_last() {
        assert!(
            SYSTEM.iter().all(|declared| declared.path.starts_with("system.") && !declared.is_faster_when_larger())
        );
        assert!(TIMED.iter().all(|declared| !declared.path.starts_with("system.")));
    }

    #[test]
    fn every_rate_has_a_direction() {
        for declared in TIMED.iter().filter(|declared| !declared.whole) {
            let takes_time = declared.unit.starts_with("cycles") || declared.unit == "us";
            assert_ne!(takes_time, declared.is_faster_when_larger(), "{} in {}", declared.path, declared.unit);
        }
    }
}
