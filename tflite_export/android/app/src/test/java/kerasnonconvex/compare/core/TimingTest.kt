package kerasnonconvex.compare.core

import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Test

class TimingTest {
    @Test
    fun runsInTurnAndForgetsTheWarmUp() {
        var now = 0L
        val order = StringBuilder()
        // A run of "a" takes 100 ms while warming up, then 1, 2, 3 ... ms.
        var runs = 0
        val a = {
            order.append('a')
            now += if (runs < 2) 100_000_000L else (runs - 1) * 1_000_000L
            runs++
            Unit
        }
        val b = {
            order.append('b')
            now += 500_000L
        }
        val (first, second) = interleaved(listOf(a, b), 101, 2) { now }
        assertEquals("ab".repeat(103), order.toString())
        assertEquals(Latency(51.0, 96.0), first)
        assertEquals(Latency(0.5, 0.5), second)
    }

    @Test
    fun percentilesLieBetweenValues() {
        val values = doubleArrayOf(4.0, 1.0, 3.0, 2.0)
        assertEquals(2.5, percentile(values, 50.0), 1e-12)
        assertEquals(3.85, percentile(values, 95.0), 1e-12)
        assertEquals(7.0, percentile(doubleArrayOf(7.0), 95.0), 1e-12)
    }

    @Test
    fun refusesNoRuns() {
        assertThrows(IllegalArgumentException::class.java) {
            interleaved(listOf({}), 0, 5)
        }
    }
}
