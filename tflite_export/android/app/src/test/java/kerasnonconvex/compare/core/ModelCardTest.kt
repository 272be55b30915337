package kerasnonconvex.compare.core

import org.junit.Assert.assertEquals
import org.junit.Assert.assertNull
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Test

val ENTRIES = mapOf(
    "name" to "digits",
    "precision" to "int8",
    "height" to "28",
    "width" to "28",
    "channels" to "1",
    "fit" to "crop",
    "mean" to "0.0",
    "std" to "255.0",
    "labels" to "3",
    "label.0" to "T-shirt/top, = one",
    "label.1" to "caf\\u00e9",
    "label.2" to "\\ two ",
    "dense.file" to "dense.int8.tflite",
    "dense.bytes" to "431000",
    "dense.accuracy" to "0.9912",
    "dense.macs" to "2300000",
    "pruned.file" to "small.int8.tflite",
    "pruned.bytes" to "43100",
)

fun card(vararg changes: Pair<String, String?>): ModelCard {
    val lines = (ENTRIES + changes).filterValues { it != null }
    return ModelCard.read(
        lines.entries.joinToString("\n") { "${it.key}=${it.value}" }.reader(),
    )
}

class ModelCardTest {
    @Test
    fun readsWhatPythonWrites() {
        val card = card()
        assertEquals("digits", card.name)
        assertEquals(listOf(28, 28, 1), listOf(card.height, card.width, card.channels))
        assertEquals(listOf(255f), card.std)
        assertEquals(Fit.CROP, card.fit)
        assertEquals(listOf("T-shirt/top, = one", "café", " two "), card.labels)
        assertEquals(Network("dense.int8.tflite", 431000, 0.9912, 2300000), card.dense)
        assertNull(card.pruned.accuracy)
        assertNull(card.pruned.macs)
    }

    @Test
    fun saysWhatIsMissing() {
        for (key in listOf("name", "fit", "label.2", "dense.file", "pruned.bytes")) {
            val error = assertThrows(IllegalArgumentException::class.java) {
                card(key to null)
            }
            assertTrue(error.message!!, "'$key'" in error.message!!)
        }
    }

    @Test
    fun refusesWhatNoNetworkHas() {
        val bad = listOf(
            "channels" to "2",
            "height" to "0",
            "fit" to "fill",
            "std" to "0",
            "mean" to "1, 2, 3",
            "labels" to "0",
            "width" to "wide",
        )
        for (change in bad) {
            assertThrows(change.first, IllegalArgumentException::class.java) {
                card(change)
            }
        }
    }
}
