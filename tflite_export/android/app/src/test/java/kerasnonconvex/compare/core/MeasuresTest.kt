package kerasnonconvex.compare.core

import java.util.Locale
import org.junit.Assert.assertEquals
import org.junit.Test

class MeasuresTest {
    @Test
    fun comparesWhatIsKnownOfBoth() {
        val rows = measures(card(), null, null)
        assertEquals(
            listOf(Row(Measure.SIZE, "431.0 kB", "43.1 kB", "0.10")),
            rows,
        )
    }

    @Test
    fun comparesEverything() {
        val card = card("pruned.accuracy" to "0.9815", "pruned.macs" to "230000")
        val rows = measures(card, Latency(2.0, 2.5), Latency(0.5, 1.25))
        assertEquals(Measure.entries, rows.map { it.measure })
        assertEquals(Row(Measure.ACCURACY, "99.12 %", "98.15 %", ""), rows[1])
        assertEquals(Row(Measure.MACS, "2.300 M", "0.230 M", "0.10"), rows[2])
        assertEquals(Row(Measure.MEDIAN, "2.000 ms", "0.500 ms", "0.25"), rows[3])
        assertEquals(Row(Measure.P95, "2.500 ms", "1.250 ms", "0.50"), rows[4])
    }

    @Test
    fun doesNotDependOnThePhonesLanguage() {
        val before = Locale.getDefault()
        Locale.setDefault(Locale.GERMANY)
        try {
            assertEquals("431.0 kB", measures(card(), null, null)[0].dense)
        } finally {
            Locale.setDefault(before)
        }
    }
}
