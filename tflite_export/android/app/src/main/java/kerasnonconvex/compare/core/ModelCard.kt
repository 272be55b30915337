package kerasnonconvex.compare.core

import java.io.Reader
import java.util.Properties

/** One of the two networks: its file, and what the run found out about it. */
data class Network(
    val file: String,
    val bytes: Long,
    val accuracy: Double?,
    val macs: Long?,
)

/**
 * What `model.properties` says about the two networks.
 *
 * Both take one image of [height] x [width] x [channels] values
 * `(pixel - mean) / std`, pixels in 0..255, and give one score per label.
 * Images with other proportions get this size by [fit].
 */
class ModelCard(
    val name: String,
    val precision: String,
    val height: Int,
    val width: Int,
    val channels: Int,
    val fit: Fit,
    val mean: List<Float>,
    val std: List<Float>,
    val labels: List<String>,
    val dense: Network,
    val pruned: Network,
) {
    init {
        require(height > 0 && width > 0) { "The input is empty: $height x $width." }
        require(channels == 1 || channels == 3) {
            "The input must have 1 or 3 channels, not $channels."
        }
        require(mean.size == channels && std.size == channels) {
            "There must be $channels values of mean and std, " +
                "not ${mean.size} and ${std.size}."
        }
        require(std.none { it == 0f }) { "No std may be 0." }
        require(labels.isNotEmpty()) { "There are no labels." }
    }

    companion object {
        fun read(text: Reader): ModelCard {
            val entries = Properties().apply { load(text) }

            fun value(key: String) =
                requireNotNull(entries.getProperty(key)) {
                    "model.properties has no '$key'."
                }

            fun numbers(key: String) =
                value(key).split(',').map { it.trim().toFloat() }

            fun network(key: String) =
                Network(
                    value("$key.file"),
                    value("$key.bytes").toLong(),
                    entries.getProperty("$key.accuracy")?.toDouble(),
                    entries.getProperty("$key.macs")?.toLong(),
                )

            return ModelCard(
                name = value("name"),
                precision = value("precision"),
                height = value("height").toInt(),
                width = value("width").toInt(),
                channels = value("channels").toInt(),
                fit = Fit.valueOf(value("fit").uppercase()),
                mean = numbers("mean"),
                std = numbers("std"),
                labels = List(value("labels").toInt()) { value("label.$it") },
                dense = network("dense"),
                pruned = network("pruned"),
            )
        }
    }
}
