package dev.spiq.classify

import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.util.zip.ZipInputStream

/**
 * What a file that spiq_tf wrote says of its image input and of its classes.
 *
 * (pixel - mean) / std of a pixel in 0..255 is what the float model was fed; one number for all channels, or one each.
 * Sources of the places: schema.fbs of TensorFlow Lite and metadata_schema.fbs of tflite-support.
 */
class Metadata(val mean: FloatArray, val std: FloatArray, val labels: List<String>) {

    companion object {
        /** Throws IllegalArgumentException if the file does not say that it takes RGB images, or holds no labels. */
        fun of(file: ByteArray): Metadata {
            val model = Table.root(file)
            val entry = model.tables(6).firstOrNull { String(it.bytes(0)) == "TFLITE_METADATA" }
            requireNotNull(entry) { "the file holds no metadata" }
            val metadata = Table.root(model.tables(4)[entry.int(1)].bytes(0))
            val image = metadata.tables(3)[0].tables(2)[0]
            val content = image.table(3)
            require(content?.byte(0) == IMAGE && content.table(1)?.byte(0) == RGB) { "the file takes no RGB images" }
            val normalization = image.tables(4).first { it.byte(0) == NORMALIZATION }.table(1)!!
            return Metadata(normalization.floats(0), normalization.floats(1), labels(file))
        }

        /**
         * Reads labels.txt from the archive behind the model. Its directory tells where the archive starts; the last 22
         * bytes of the file tell where the directory does.
         */
        private fun labels(file: ByteArray): List<String> {
            val bytes = ByteBuffer.wrap(file).order(ByteOrder.LITTLE_ENDIAN)
            val end = file.size - 22
            require(bytes.getInt(end) == END_OF_ARCHIVE) { "the file holds no labels: convert with labels=[...]" }
            val first = bytes.getInt(bytes.getInt(end + 16) + 42)
            ZipInputStream(file.inputStream(first, file.size - first)).use { archive ->
                generateSequence { archive.nextEntry }.first { it.name == "labels.txt" }
                return archive.bufferedReader().readLines()
            }
        }

        private const val IMAGE = 2
        private const val RGB = 1
        private const val NORMALIZATION = 1
        private const val END_OF_ARCHIVE = 0x06054b50
    }
}
