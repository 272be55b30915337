import java.io.DataInputStream
import java.io.File
import kerasnonconvex.compare.core.ModelCard
import kerasnonconvex.compare.core.Pixels
import kerasnonconvex.compare.core.preprocess

/**
 * Reads a model card, whether to invert, and an image (width, height, then ARGB;
 * big-endian ints); prints the card's labels, then the network's input.
 */
fun main(arguments: Array<String>) {
    val (card, invert, image) = arguments
    val read = File(card).reader().use { ModelCard.read(it) }
    val pixels = DataInputStream(File(image).inputStream().buffered()).use { data ->
        val (width, height) = List(2) { data.readInt() }
        Pixels(width, height, IntArray(width * height) { data.readInt() })
    }
    val out = System.out.bufferedWriter()
    read.labels.forEach { out.appendLine(it) }
    preprocess(pixels, read, invert.toBoolean()).forEach { out.appendLine("$it") }
    out.flush()
}
