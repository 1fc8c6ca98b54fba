package dev.spiq.classify

import android.content.res.AssetManager
import android.graphics.Bitmap
import android.graphics.Matrix
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.min
import org.tensorflow.lite.DataType
import org.tensorflow.lite.Interpreter
import org.tensorflow.lite.Tensor

/** The model of an asset: uint8 RGB images in, one uint8 number for each class out. For one thread at a time. */
class Classifier(assets: AssetManager, name: String) : AutoCloseable {

    class Result(val label: String, val score: Float)

    private val interpreter: Interpreter
    private val labels: List<String>
    private val width: Int
    private val height: Int
    private val integers: List<ByteArray>
    private val scores: Quantization
    private val input: ByteBuffer
    private val output: ByteBuffer

    init {
        val file = assets.open(name).use { it.readBytes() }
        val metadata = Metadata.of(file)
        interpreter = Interpreter(direct(file.size).apply { put(file) }, Interpreter.Options().setUseXNNPACK(true))
        val image = interpreter.getInputTensor(0)
        val classes = interpreter.getOutputTensor(0)
        require(image.dataType() == DataType.UINT8 && classes.dataType() == DataType.UINT8) {
            "expected uint8 input and output, found ${image.dataType()} and ${classes.dataType()}"
        }
        height = image.shape()[1]
        width = image.shape()[2]
        labels = metadata.labels
        integers = quantization(image).pixels(metadata)
        scores = quantization(classes)
        input = direct(image.numBytes())
        output = direct(classes.numBytes())
    }

    /** The class of the largest number. The rotation is clockwise, in degrees, and makes the image upright. */
    fun classify(image: Bitmap, rotation: Int): Result {
        fill(upright(image, rotation))
        output.rewind()
        interpreter.run(input, output)
        val found = FloatArray(labels.size) { scores.real(output.get(it)) }
        val best = found.indices.maxByOrNull { found[it] }!!
        return Result(labels[best], found[best])
    }

    override fun close() = interpreter.close()

    /** The square in the middle, turned and resized to what the model takes. */
    private fun upright(image: Bitmap, rotation: Int): Bitmap {
        val side = min(image.width, image.height)
        val turn = Matrix().apply { postRotate(rotation.toFloat()) }
        val square =
            Bitmap.createBitmap(image, (image.width - side) / 2, (image.height - side) / 2, side, side, turn, true)
        return Bitmap.createScaledBitmap(square, width, height, true)
    }

    private fun fill(image: Bitmap) {
        val colors = IntArray(width * height)
        image.getPixels(colors, 0, width, 0, 0, width, height)
        input.rewind()
        for (color in colors) {
            input.put(integers[0][color shr 16 and 0xFF])
            input.put(integers[1][color shr 8 and 0xFF])
            input.put(integers[2][color and 0xFF])
        }
        input.rewind()
    }

    private fun quantization(tensor: Tensor): Quantization =
        tensor.quantizationParams().let { Quantization(it.scale, it.zeroPoint) }

    private fun direct(size: Int): ByteBuffer = ByteBuffer.allocateDirect(size).order(ByteOrder.nativeOrder())
}
